"""A kernel that has no nfnetlink_log: another tier, and the missing piece by its name"""
import json
import os
import subprocess

import lab as lab_module
import truth

MODULES = ("xt_NFLOG", "nft_log", "nf_log_syslog", "nfnetlink_log")


def take_away():
    """Comes after the captures (test_under_kernel.py): the machine ends with these tests."""
    assert os.environ.get("APPTAP_VM"), "this is no virtual machine of check.sh: its modules stay"
    with open("/etc/modprobe.d/without-nflog.conf", "w") as f:
        f.writelines(f"install {m} /bin/false\n" for m in MODULES)
    for m in MODULES:
        subprocess.run(["modprobe", "-r", m], check=False, capture_output=True)
    with open("/proc/modules") as f:
        assert "nfnetlink_log" not in f.read()


def test_it_is_named():
    take_away()
    done = subprocess.run([lab_module.APPTAP, "--probe", "--local", "--json"], capture_output=True,
                          text=True, check=False)
    nflog = {t["name"]: t for t in json.loads(done.stdout)["tiers"]}["nflog"]
    assert not nflog["works"] and not nflog["chosen"]
    assert "nfnetlink_log" in nflog["reason"] and nflog["features"]["nfnetlink_log"] is False
    assert nflog["features"]["conntrack"]


def test_another_tier_captures():
    """auto says nothing, for it has another; who names the tier is told why he does not get it."""
    with lab_module.Lab() as lab:
        for tier, warned in (("auto", False), ("nflog", True)):
            tool = lab.apptap(tier=tier).wait_ready()
            p = lab.traffic("app", "dns", f"uid={truth.APP_UID}", "count=5", "ports=20000-20100")
            p.line()
            p.say("go")
            p.line()
            p.finish()
            assert tool.stop() == 0, tool.talk
            said = tool.json()
            assert said["tier"] in ("bpf", "sockdiag")
            assert any("nfnetlink_log" in text for text in said["warnings"]) == warned, said["warnings"]
            assert said["counters"]["packets"]
