"""The tier bpf through tc's filters, which kernels before 6.6 have instead of links (tests/vm has those
kernels): exact, beside filters of others, and whatever ends it, clsact and filters are as they were."""
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

import lab as lab_module
import program
import truth
from processes import words
from test_bpf import (few, test_an_interface_that_comes_later,  # noqa: F401
                      test_beside_programs_of_others, test_two_at_once, works)
from test_exact import account, judge

pytestmark = pytest.mark.usefixtures("need_apptap")
KILLS = int(os.environ.get("APPTAP_KILLS", "20"))


@pytest.fixture(autouse=True)
def filters_instead_of_links(monkeypatch):
    monkeypatch.setenv("APPTAP_TC", "clsact")


def inside(lab, *argv):
    done = subprocess.run([*lab.inside("app"), *argv], capture_output=True, text=True)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def tc(lab, *args):
    return inside(lab, "tc", *args)


def filters(lab, dev):
    return "".join(tc(lab, "filter", "show", "dev", dev, side) for side in ("egress", "ingress"))


def attached(lab):
    """All that tc has in the app's namespace; ours is named apptap-TAG-..."""
    return tc(lab, "qdisc", "show") + filters(lab, "veth0") + filters(lab, "lo")


def wait_for(what, seconds=lab_module.WAIT):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)	# nothing tells


@pytest.fixture(autouse=True)
def nothing_stays(lab):
    before = attached(lab)
    yield before
    assert attached(lab) == before


def test_exact(lab):
    mix = few({"tcp_short": 50, "dns": 50, "quic": 4, "udp_fire": 50, "inbound_tcp": 20, "inbound_udp": 20,
               "fragments": 10, "loopback": 40, "ping": 5})
    seen = []

    def tool():
        started = lab.apptap(tier="bpf").wait_ready()
        seen.append(attached(lab))
        return started

    outcome = lab.run(mix, tool)
    assert outcome.code == 0 and outcome.json["tier"] == "bpf", outcome.tool.talk
    judge(outcome, *mix)
    account(outcome)
    assert len(re.findall(r"apptap-[0-9a-f]{8}-(?:in|out)-clsact direct-action", seen[0])) == 3


def test_removed_by_somebody(lab):
    """The whole clsact, in mid-capture: it says so, and what comes afterwards is captured."""
    [workload] = few({"tcp_short": 20})

    def tool():
        started = lab.apptap(tier="bpf").wait_ready()
        tc(lab, "qdisc", "del", "dev", "veth0", "clsact")
        wait_for(lambda: "apptap-" in filters(lab, "veth0"))
        return started

    outcome = lab.run([workload], tool)
    judge(outcome, workload)
    assert any("removed our filters from veth0" in text for text in outcome.json["warnings"])


@pytest.fixture
def other(lab):
    """A program of somebody else's that ends the row; how tc adds it."""
    path = lab.file("other.o")
    subprocess.run(["clang", "-target", "bpf", "-O2", "-x", "c", "-c", "-", "-o", path], text=True, check=True,
                   input='__attribute__((section("tc"), used)) int other(void *skb) { return 0; }\n'
                   'char _license[] __attribute__((section("license"), used)) = "GPL";\n')
    return ["bpf", "da", "obj", path, "sec", "tc"]


def test_somebody_steps_in_front(lab, other):
    """The newest of one priority is the first: we are put before it again; it keeps our clsact."""
    [workload] = few({"tcp_short": 20})

    def tool():
        started = lab.apptap(tier="bpf").wait_ready()
        tc(lab, "filter", "add", "dev", "veth0", "egress", "prio", "1", *other)
        wait_for(lambda: re.search(r"apptap-.*\n.*\n*.*other", filters(lab, "veth0")))
        return started

    outcome = lab.run([workload], tool)
    judge(outcome, workload)
    assert "other" in filters(lab, "veth0") and "apptap-" not in attached(lab)
    tc(lab, "qdisc", "del", "dev", "veth0", "clsact")


@pytest.mark.parametrize("kind, filters_there, says", [
    ("clsact", ["prio 1 protocol ip u32 match u32 0 0 flowid 1:1"], "pref 1"),
    ("ingress", [], "'ingress'")])
def test_no_place_for_us(lab, kind, filters_there, says):
    """Where we cannot be the first we do not begin, and say why."""
    tc(lab, "qdisc", "add", "dev", "veth0", kind)
    try:
        for args in filters_there:
            tc(lab, "filter", "add", "dev", "veth0", "ingress", *args.split())
        before = attached(lab)
        tool = lab.apptap(tier="bpf").wait_ready()
        assert tool.stop() == 0
        assert tool.json()["tier"] == "sockdiag"
        assert any("attaching to veth0" in text and says in text for text in tool.json()["warnings"])
        assert attached(lab) == before
    finally:
        tc(lab, "qdisc", "del", "dev", "veth0", kind)


def processes(lab, tool):
    """Host, agent, guardian."""
    found = {"host": tool.proc.pid}
    for pid in lab_module.family(tool.proc.pid):
        args = words(pid)
        if "--agent" in args:	# its child is called so too, until it has become the guardian
            found.setdefault("agent", pid)
        if "--guardian" in args:
            found["guardian"] = pid
    return found


def test_killed_at_any_moment(lab, nothing_stays):
    """SIGKILL of the agent, or of the host too, the probe on loopback included: the guardian is left."""
    chance = random.Random(4)
    first = lab.apptap(tier="bpf", name="first.pcapng").wait_ready()
    assert first.stop() == 0
    caught = 0
    for i in range(KILLS):
        tool = lab.apptap(tier="bpf", name=f"killed-{i}.pcapng")
        wait_for(lambda: "agent" in processes(lab, tool) or tool.proc.poll() is not None)
        time.sleep(chance.uniform(0, 1.5 * first.ready_s))	# the moment is what is tried
        agent = processes(lab, tool)["agent"]
        os.kill(agent, signal.SIGSTOP)	# so that it is known what it had then
        caught += "apptap-" in attached(lab)
        if i % 2:
            tool.proc.kill()
        os.kill(agent, signal.SIGKILL)
        tool.proc.wait(lab_module.WAIT)
        tool.reader.join(lab_module.WAIT)
        wait_for(lambda: attached(lab) == nothing_stays)
        lab.captures.remove(tool)
    assert caught >= KILLS / 10, f"only {caught} of {KILLS} had filters when they were killed"
    print(f"{caught} of {KILLS} had filters when they were killed")


@pytest.mark.parametrize("by", ["cleanup", "the next capture"])
def test_the_guardian_is_killed_as_well(lab, by):
    """What nobody looks after goes with a cleanup or the next start; a capture that runs keeps its own."""
    first, second = [lab.apptap(tier="bpf", name=n).wait_ready() for n in ("a.pcapng", "b.pcapng")]
    killed = processes(lab, first)
    pidfds = [os.pidfd_open(pid) for pid in killed.values()]
    for who in ("guardian", "agent", "host"):
        os.kill(killed[who], signal.SIGKILL)
    assert program.gone_within(pidfds, 5)
    for fd in pidfds:
        os.close(fd)
    tags = re.findall(r"apptap-[0-9a-f]{8}", attached(lab))
    assert len(tags) == 6 and len(set(tags)) == 2
    if by == "cleanup":
        removed = [json.loads(inside(lab, lab_module.APPTAP, "--cleanup", "--local", "--json"))
                   ["filters_removed"] for _ in range(2)]
        assert removed == [3, 0]
    else:
        assert lab.apptap(tier="bpf", name="c.pcapng").wait_ready().stop() == 0
    tags = re.findall(r"apptap-[0-9a-f]{8}", attached(lab))
    assert len(tags) == 3 and len(set(tags)) == 1
    assert second.stop() == 0, second.talk	# and takes the clsact with it that the first had made


def test_probe_names_what_is_missing(lab):
    """A kernel without BTF: said in words."""
    done = subprocess.run([*lab.inside("app"), "unshare", "-m", "sh", "-c",
                           'mount -t tmpfs tmpfs /sys/kernel/btf && exec "$0" --probe --local --json',
                           lab_module.APPTAP], capture_output=True, text=True, check=False)
    bpf = json.loads(done.stdout)["tiers"][0]
    assert bpf["name"] == "bpf" and not bpf["works"]
    assert "CONFIG_DEBUG_INFO_BTF" in bpf["reason"]
