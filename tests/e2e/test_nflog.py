"""The tier nflog and the machine's own rules: both work, and nothing of ours stays behind."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import lab as lab_module
import truth
from test_exact import account, judge

pytestmark = [
    pytest.mark.usefixtures("need_apptap"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

BACKENDS = ("nftables", "iptables", "legacy")


def choose(backend, monkeypatch):
    """Has every AppTap of the test use it; legacy: iptables by the kernel's own tables."""
    monkeypatch.setenv("APPTAP_RULES", "nftables" if backend == "nftables" else "iptables")
    if backend == "nftables":
        return
    if not shutil.which("iptables-restore"):
        pytest.skip("needs iptables")
    if backend == "legacy":
        if subprocess.run(["unshare", "-n", "iptables-legacy", "-t", "mangle", "-S"], check=False,
                          capture_output=True).returncode:
            pytest.skip("needs iptables-legacy and a kernel with its tables")
        apptap = lab_module.Lab.apptap
        monkeypatch.setattr(lab_module.Lab, "apptap",
                            lambda *args, **named: apptap(*args, env=lab_module.LEGACY, **named))


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    choose(request.param, monkeypatch)
    return request.param


# What Docker, firewalld and an Android-like netd would have there, by nft itself.
PRESENT = """
table ip docker_like {
    chain nat_out { type nat hook postrouting priority srcnat;
        oifname "docker0" masquerade; }
    chain forward { type filter hook forward priority filter; policy drop;
        ct state established,related accept; }
}
table inet firewalld_like {
    set allowed { type inet_service; flags interval; elements = { 22, 80, 20000-39999 }; }
    chain in { type filter hook input priority filter + 10; policy accept;
        ct state invalid drop
        tcp dport @allowed ct mark set ct mark or 0x4000; }
    chain out { type filter hook output priority mangle;
        meta skuid 0 ct mark set (ct mark and 0xffff7fff) or 0x8000; }
}
table inet netd_like {
    chain out { type filter hook output priority mangle + 5;
        meta skuid 5001 counter
        ct mark and 0x38000000 == 0x10000000 counter; }
}
"""
# What ufw would have, and a user of marks beside it, by iptables of either kind.
UFW_LIKE = """*filter
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-track-output - [0:0]
-A INPUT -j ufw-before-input
-A OUTPUT -j ufw-track-output
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -j ufw-user-input
-A ufw-user-input -p tcp -m multiport --dports 22,20000:39999 -j ACCEPT
-A ufw-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:VPN - [0:0]
-A OUTPUT -j VPN
-A VPN -m owner --uid-owner 0 -j CONNMARK --set-xmark 0x40/0x40
-A VPN -m connmark --mark 0x40000000/0x40000000 -j ACCEPT
COMMIT
"""


def inside(lab, *argv, stdin=None):
    done = subprocess.run([*lab.inside("app"), *argv], input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def ruleset(lab):
    """Everything that netfilter holds, without counters."""
    text = inside(lab, "nft", "-s", "list", "ruleset")
    for program in ("iptables-legacy-save", "ip6tables-legacy-save"):
        if shutil.which(program):
            text += inside(lab, program)
    return re.sub(r"\[\d+:\d+\]|^#.*$", "", text, flags=re.M)	# counters, and the time of day


def marks(lab):
    """The marks of all connections, where the program that lists them is there."""
    if not shutil.which("conntrack"):
        return ""
    return subprocess.run([*lab.inside("app"), "conntrack", "-L"], capture_output=True,
                          text=True, check=False).stdout


@pytest.fixture
def present(lab, backend):
    kind = "iptables-legacy" if backend == "legacy" else "iptables"
    inside(lab, "nft", "-f", "-", stdin=PRESENT)
    for restore in (f"{kind}-restore", f"{kind.replace('ip', 'ip6', 1)}-restore"):
        inside(lab, restore, "--noflush", stdin=UFW_LIKE)
    yield ruleset(lab)
    inside(lab, "nft", "flush", "ruleset")
    for restore in ("iptables-legacy-restore", "ip6tables-legacy-restore") if backend == "legacy" else ():
        inside(lab, restore, stdin="*filter\nCOMMIT\n*mangle\nCOMMIT\n")


def test_beside_rules_of_others(lab, present, backend):
    """They stay as they are, byte for byte, and so does exactness; no bit of theirs is taken."""
    workloads = [lab_module.BY_NAME[n] for n in ("tcp_short", "dns", "inbound_tcp", "loopback")]
    during = []

    def tool():
        started = lab.apptap(tier="nflog").wait_ready()
        during.append(ruleset(lab))
        return started

    outcome = lab.run(workloads, tool)
    assert outcome.code == 0 and outcome.json["tier"] == "nflog", outcome.tool.talk
    judge(outcome, *workloads)
    account(outcome)
    assert ruleset(lab) == present
    ours = "\n".join(line for line in during[0].splitlines() if line not in present)
    assert ("table inet apptap_" if backend == "nftables" else "APPTAP_") in ours
    for theirs in ("0x10000000", "0x08000000", "0x20000000", "0x00004000", "0x00008000",
                   "0x40/", "0x40000000/"):
        assert theirs not in ours


def test_ready_and_ended_at_once(lab, backend):
    """Within 150 ms each; a machine that is busy gets a few tries, and more time."""
    took = []
    for _ in range(6):
        tool = lab.apptap(tier="nflog").wait_ready()
        assert tool.stop() == 0 and tool.json()["tier"] == "nflog"
        took.append((tool.ready_s, tool.stop_s))
        if lab_module.in_time(max(took[-1]), 0.15):
            return
    raise AssertionError(took)


def test_two_at_once(lab):
    """Each has its own bits and its own group, and gets its own packets."""
    lab_run = lab_module.BY_NAME["tcp_short"]
    others = lab.file("other.pcapng")
    other = lab.capture([lab_module.APPTAP, "--uid", str(truth.BYSTANDER_UID), "--local",
                         "--tier", "nflog", "-v", "--json", "-o", others], others).wait_ready()
    outcome = lab.run([lab_run], lambda: lab.apptap(tier="nflog"))
    assert other.stop() == 0
    total = outcome.report.total
    assert not total.leaked and not total.extra and total.recall == 1, f"{outcome.report.complain()}\n{outcome.json}"
    theirs = other.json()
    assert theirs["tier"] == "nflog"
    # What the kernel sends for closed sockets may come after the reference's last moment.
    assert 0 <= theirs["counters"]["packets"] - total.bystander <= 30


def test_the_proof_of_another(lab, backend):
    """What a second capture, and --probe, send to prove their rules is not the app's for the first."""
    first = lab.apptap(tier="nflog", name="first.pcapng").wait_ready()
    second = lab.apptap(tier="nflog", name="second.pcapng").wait_ready()
    assert second.stop() == 0 and second.json()["tier"] == "nflog"
    subprocess.run([*lab.inside("app"), lab_module.APPTAP, "--probe", "--local"], check=True,
                   stdout=subprocess.DEVNULL)
    assert first.stop() == 0 and first.json()["tier"] == "nflog"
    for tool in (first, second):
        assert tool.json()["counters"]["kept"] == 0, tool.json()["counters"]


def test_a_group_that_is_taken(lab):
    """Somebody listens to the group that was asked for: the next one, and a word about it."""
    first = lab.apptap("--nflog-group", "77", tier="nflog", name="first.pcapng").wait_ready()
    second = lab.apptap("--nflog-group", "77", tier="nflog", name="second.pcapng").wait_ready()
    assert "group 77" in ruleset(lab) and "group 78" in ruleset(lab)
    assert second.stop() == 0 and first.stop() == 0
    assert any("78" in text for text in second.json()["warnings"])
    assert not first.json()["warnings"]


def test_marks_are_cleared(lab):
    """Connections that outlive the capture lose the mark that it gave them."""
    if not shutil.which("conntrack"):
        pytest.skip("needs conntrack")
    outcome = lab.run([lab_module.BY_NAME["dns"]], lambda: lab.apptap(tier="nflog"))
    assert outcome.code == 0
    lines = [line for line in marks(lab).splitlines() if "mark=" in line and "mark=0" not in line]
    assert not lines


def test_forced_but_not_possible(lab):
    """Without the right to change rules: sockdiag, and a word that says what is missing."""
    path = lab.file("without.pcapng")
    if not shutil.which("capsh"):
        pytest.skip("needs capsh")
    tool = lab.capture(["capsh", "--drop=cap_net_admin", "--", "-c",
                        f"exec {lab_module.APPTAP} --uid {truth.APP_UID} --local --tier nflog"
                        f" --json -v -o {path}"], path)
    tool.wait_ready()
    assert tool.stop() == 0
    said = tool.json()
    assert said["tier"] == "sockdiag"
    assert any("nflog does not work here" in text for text in said["warnings"]), said["warnings"]


def without(lab, rights, *options, tier="auto"):
    """AppTap as a root that has not these rights."""
    path = lab.file("without.pcapng")
    if not shutil.which("capsh"):
        pytest.skip("needs capsh")
    return lab.capture(["capsh", f"--drop={rights}", "--", "-c", " ".join(
        [f"exec {lab_module.APPTAP} --local --tier {tier} --json -v", *options, "-o", path])], path)


NO_BPF = "cap_bpf,cap_sys_admin,cap_perfmon"


def test_auto_where_bpf_does_not_work(lab, present, backend):
    """It is the next that auto takes, and says nothing of it; it shows whose packets these are, and leaves
    nothing behind."""
    workloads = [lab_module.BY_NAME[n] for n in ("tcp_short", "dns", "port_reuse_tcp")]
    outcome = lab.run(workloads, lambda: without(lab, NO_BPF, f"--uid {truth.APP_UID}").wait_ready())
    assert outcome.code == 0 and outcome.json["tier"] == "nflog", outcome.tool.talk
    assert not outcome.json["warnings"]
    judge(outcome, *workloads)
    account(outcome)
    assert ruleset(lab) == present
    assert not [m for m in re.findall(r" mark=(\d+)", marks(lab)) if int(m) & ~0xc040]	# but for theirs


def test_probe_says_what_auto_takes(lab, monkeypatch):
    """The best that works: nflog where bpf does not, sockdiag where neither does."""
    for rights, room, chosen in ((NO_BPF, "", "nflog"), (NO_BPF + ",cap_net_admin", "", "sockdiag"),
                                 (NO_BPF, "APPTAP_CONNTRACK_MAX=1", "sockdiag")):
        done = subprocess.run([*lab.inside("app"), "capsh", f"--drop={rights}", "--", "-c",
                               f"{room} exec {lab_module.APPTAP} --probe --local --json"],
                              capture_output=True, text=True, check=False)
        assert [t["name"] for t in json.loads(done.stdout)["tiers"] if t["chosen"]] == [chosen], done.stdout


def test_no_room_in_conntrack(fresh_lab):
    """Its rules would have the kernel track the connections of all: not where they may fill the table."""
    lab = fresh_lab
    lab.hoard(300)
    for most, tier in (("500", "sockdiag"), ("5000", "nflog")):
        tool = lab.apptap(tier="nflog", env=[f"APPTAP_CONNTRACK_MAX={most}"]).wait_ready()
        assert tool.stop() == 0 and tool.json()["tier"] == tier
        assert any("little room" in text for text in tool.json()["warnings"]) == (tier == "sockdiag")


def test_auto_by_cgroup(lab):
    """Which it cannot tell apart: auto goes on to the next."""
    tool = without(lab, "cap_bpf,cap_perfmon", "--pid", str(os.getpid())).wait_ready()
    assert tool.stop() == 0 and tool.json()["tier"] != "nflog", tool.talk


@pytest.mark.parametrize("chain", ["", "MINE"])
def test_rules_removed_by_somebody(lab, monkeypatch, chain):
    """iptables -F while it captures, of all chains or of one of ours: it says so, and the next tier goes
    on in the same file."""
    monkeypatch.setenv("APPTAP_RULES", "iptables")
    workload = lab_module.BY_NAME["tcp_short"]
    tools = []

    def tool():
        started = lab.apptap(tier="nflog").wait_ready()
        p = lab.traffic("app", "dns", f"uid={truth.APP_UID}", "count=10", "ports=29900-29999")
        p.line()
        p.say("go")
        p.line()
        p.finish()
        ours = re.search(rf"APPTAP_[0-9a-f]{{8}}_{chain}\b", ruleset(lab))[0] if chain else None
        inside(lab, "iptables", "-t", "mangle", "-F", *filter(None, [ours]))
        end = time.monotonic() + 5
        while not any("somebody has removed" in line for line in started.talk):
            assert time.monotonic() < end, started.talk
            time.sleep(0.01)
        tools.append(started)
        return started

    outcome = lab.run([workload], tool)
    assert outcome.code == 0, outcome.tool.talk
    tally = outcome.tally(workload)
    assert not tally.leaked and not tally.extra and tally.recall == 1, outcome.report.complain()
    assert outcome.json["counters"]["packets"] >= tally.expected + 20	# and what came before
    assert any("capturing with sockdiag from now on" in text for text in outcome.json["warnings"])
    assert "APPTAP_" not in ruleset(lab)


def probe(lab):
    done = subprocess.run([*lab.inside("app"), lab_module.APPTAP, "--probe", "--local", "--json"],
                          capture_output=True, text=True, check=False)
    return {t["name"]: t for t in json.loads(done.stdout)["tiers"]}


def test_probe_feature_by_feature(lab, present, backend):
    """Each is named, by a packet of its own; nothing stays behind."""
    nflog = probe(lab)["nflog"]
    assert nflog["works"] and not nflog["chosen"]
    wanted = {"root": True, "conntrack": True, "nfnetlink_log": True, "owner": True, "connmark": True,
              "nflog_target": True, "nftables": backend == "nftables"}
    assert {k: nflog["features"][k] for k in wanted} == wanted
    assert "ip6tables" in nflog["features"]
    assert ruleset(lab) == present


def test_probe_names_what_is_missing(lab, monkeypatch):
    monkeypatch.setenv("APPTAP_RULES", "neither")
    nflog = probe(lab)["nflog"]
    assert not nflog["works"]
    assert nflog["features"]["nfnetlink_log"] and not nflog["features"]["nflog_target"]
    assert nflog["features"]["owner"] is None and nflog["reason"]


FLOOD_PORT = 7500
# Datagrams of the app's, each with a number, as many as it is told to send; nobody answers.
FLOOD = """
import os, socket, sys, time
os.setgid(%d); os.setuid(%d)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent = 0
for line in sys.stdin:
    for _ in range(int(line)):
        s.sendto(b"%%08d" %% sent + bytes(200), ("10.77.0.2", %d))
        sent += 1
        time.sleep(0.001 if int(line) < 1000 else 0)
    print(sent, flush=True)
""" % (truth.APP_UID, truth.APP_UID, FLOOD_PORT)
SINK = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.2", {FLOOD_PORT}))
print("there", flush=True)
input()
"""


def test_what_the_buffer_cannot_hold_is_counted(lab, backend):
    """A small buffer, an agent that is stopped while the app floods: the file has what came before and
    after, and what is missing in it is the number that was told, to the packet."""
    tool = lab.apptap("-B", "64", tier="nflog").wait_ready()
    lab.program("srv", sys.executable, "-c", SINK).line()
    app = lab.program("app", sys.executable, "-c", FLOOD)
    agent = lab_module.agent_of(tool)
    for count in (100, 8000, 100):
        if count == 8000:
            time.sleep(0.1)
            os.kill(agent, signal.SIGSTOP)
        app.say(str(count))
        sent = int(app.line())
        os.kill(agent, signal.SIGCONT)
        time.sleep(0.1)
    assert tool.stop() == 0, tool.talk
    numbers = {int(p[28:36]) for _, p in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap")))
               if p and FLOOD_PORT in truth.ports(p)}
    counters = tool.json()["counters"]
    assert numbers.issuperset([*range(100), *range(8100, 8200)]), counters
    lost = sent - len(numbers)
    print(f"{backend}: {lost} of {sent} lost, {counters['dropped_kernel']} counted")
    assert lost > 1000 and counters["dropped_kernel"] == lost, (lost, counters)
    assert any("lost" in line or "dropped" in line for line in tool.talk), tool.talk


POWER_CUT = """*mangle
:APPTAP_0badcafe_IN - [0:0]
:APPTAP_THEIRS - [0:0]
-A INPUT -j APPTAP_0badcafe_IN
-A APPTAP_0badcafe_IN -j RETURN
COMMIT
"""


def test_cleanup_removes_what_a_power_cut_leaves(lab):
    inside(lab, "iptables-restore", "--noflush", stdin=POWER_CUT)
    removed = [json.loads(inside(lab, lab_module.APPTAP, "--cleanup", "--local", "--json"))
               ["chains_removed"] for _ in range(2)]
    assert removed == [1, 0]
    assert re.findall(r"APPTAP_\w+", inside(lab, "iptables-save", "-t", "mangle")) == ["APPTAP_THEIRS"]
    inside(lab, "iptables", "-t", "mangle", "-X", "APPTAP_THEIRS")


def test_what_a_power_cut_leaves(lab, monkeypatch):
    """Chains that nobody looks after go with the next start; those of a capture that runs stay."""
    monkeypatch.setenv("APPTAP_RULES", "iptables")
    inside(lab, "iptables-restore", "--noflush", stdin=POWER_CUT)
    first = lab.apptap(tier="nflog", name="first.pcapng").wait_ready()
    chains = set(re.findall(r"APPTAP_[0-9a-f]{8}", inside(lab, "iptables-save")))
    assert "APPTAP_0badcafe" not in chains and len(chains) == 1
    second = lab.apptap(tier="nflog", name="second.pcapng").wait_ready()
    assert second.stop() == 0
    assert set(re.findall(r"APPTAP_[0-9a-f]{8}", inside(lab, "iptables-save"))) == chains
    assert first.stop() == 0
    left = inside(lab, "iptables-save")
    assert "APPTAP_THEIRS" in left and not re.search(r"APPTAP_[0-9a-f]{8}", left)
    inside(lab, "iptables", "-t", "mangle", "-X", "APPTAP_THEIRS")
