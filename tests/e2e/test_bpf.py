"""The tier bpf beside others: two captures, tc programs of somebody else, and nothing left behind."""
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import lab as lab_module
import processes
import program
import truth
from test_exact import judge

pytestmark = [
    pytest.mark.usefixtures("need_apptap"),
    pytest.mark.skipif(not shutil.which("bpftool") and not os.path.exists("/usr/sbin/bpftool"),
                       reason="needs bpftool"),
]
BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
KILLS = int(os.environ.get("APPTAP_KILLS", "40"))
# TC_ACT_OK: nobody behind it is asked.
OTHER = """
__attribute__((section("tc"), used)) int other(void *skb) { return 0; }
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture(autouse=True)
def works():
    if "bpf" not in os.environ.get("APPTAP_TIERS", "bpf").split(","):
        pytest.skip("the tier bpf is not among APPTAP_TIERS")


def listed(what):
    done = subprocess.run([BPFTOOL, "-j", what, "list"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def in_kernel():
    """All programs and maps (negative), whosever they are: the kernel gives no number twice."""
    return {p["id"] for p in listed("prog")} | {-m["id"] for m in listed("map")}


def held(pid):
    """Those that this process and its descendants hold."""
    found = set()
    for each in lab_module.family(pid):
        try:
            for fd in os.listdir(f"/proc/{each}/fdinfo"):
                with open(f"/proc/{each}/fdinfo/{fd}") as f:
                    text = f.read()
                found |= {int(n) for n in re.findall(r"^prog_id:\s*(\d+)", text, re.M)}
                found |= {-int(n) for n in re.findall(r"^map_id:\s*(\d+)", text, re.M)}
        except OSError:	# it is gone, or that descriptor is
            pass
    return found


def gone(these):
    """Whether these go, which an AppTap held; the kernel frees programs a moment after their end."""
    end = time.monotonic() + lab_module.WAIT
    while in_kernel() & these:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)	# nothing tells when the kernel has freed them
    return True


def few(names):
    return [dataclasses.replace(lab_module.BY_NAME[n], count=c) for n, c in names.items()]


def noted(tool, ours):
    """Adds what the capture holds in the kernel."""
    more = held(tool.wait_ready().proc.pid)
    assert more and more & in_kernel()
    ours |= more
    return tool


def test_two_at_once(lab):
    """A second capture, of the bystander, from before the first to after it; both are exact."""
    other = lab.capture([lab_module.APPTAP, "--uid", str(truth.BYSTANDER_UID), "--local", "--tier", "bpf",
                         "-o", lab.file("other.pcapng")], lab.file("other.pcapng")).wait_ready()
    mix = few({"tcp_short": 100, "dns": 200, "loopback": 40})
    ours = held(other.proc.pid)
    outcome = lab.run(mix, lambda: noted(lab.apptap(tier="bpf"), ours))
    judge(outcome, *mix)
    assert other.stop() == 0
    theirs = list(truth.packets(truth.to_pcap(other.path, lab.file("other.pcap"))))
    owners = truth.Owners()
    found = [owners.of(p)[0] for _, p in theirs]
    # On loopback either end is enough: what the app and the bystander said to each other is both's.
    own = found.count(truth.BYSTANDER)
    bystander = sum(outcome.tally(w).bystander for w in mix)
    assert own >= bystander, (own, bystander)
    alone = [p for (_, p), who in zip(theirs, found)
             if who is not truth.BYSTANDER and not any(30000 <= n < 40000 for n in truth.ports(p))]
    assert not alone, [truth.words(0, p) for p in alone[:5]]
    assert gone(ours)


def filters(lab):
    """tc's filters of somebody else, without their statistics."""
    text = ""
    for side in ("ingress", "egress"):
        done = subprocess.run([*lab.inside("app"), "tc", "filter", "show", "dev", "veth0", side],
                              capture_output=True, text=True, check=True)
        text += re.sub(r"(used|Sent|installed) .*", "", done.stdout)
    return text


def test_beside_programs_of_others(lab):
    """Programs that end the row, as Cilium's do, were there before; they stay, and see what they saw."""
    def tc(*args):
        subprocess.run([*lab.inside("app"), "tc", *args], check=True)
    path = lab.file("other.o")
    subprocess.run(["clang", "-target", "bpf", "-O2", "-x", "c", "-c", "-", "-o", path], text=True,
                   input=OTHER, check=True)
    tc("qdisc", "add", "dev", "veth0", "clsact")
    for side in ("ingress", "egress"):
        tc("filter", "add", "dev", "veth0", side, "prio", "1", "bpf", "da", "obj", path, "sec", "tc")
    try:
        before, ours = filters(lab), set()
        assert before.count("direct-action") == 2
        mix = few({"tcp_short": 100, "dns": 200, "inbound_tcp": 50})
        outcome = lab.run(mix, lambda: noted(lab.apptap(tier="bpf"), ours))
        judge(outcome, *mix)
        assert filters(lab) == before
        assert gone(ours)
    finally:
        tc("qdisc", "del", "dev", "veth0", "clsact")


LISTENS = """
import os, socket
os.setuid(%d)
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", %d)); print("here", flush=True)
while True: s.recv(100)
"""
SENDS = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(20):
    for to in ("10.77.0.1", "10.99.0.1"): s.sendto(b"x" * 20, (to, %d))
"""


@pytest.mark.parametrize("forwards", ["0", "1"])
def test_what_passes_by(lab, forwards):
    """A socket of the app's takes its port at any address: not what is for other machines."""
    port = truth.APP_PORTS[-1]
    def run(role, *argv):
        subprocess.run([*lab.inside(role), *argv], check=True)
    run("srv", "ip", "route", "replace", "10.99.0.0/16", "via", "10.77.0.1")
    run("app", "sysctl", "-qw", f"net.ipv4.ip_forward={forwards}")
    try:
        server = lab.program("app", sys.executable, "-c", LISTENS % (truth.APP_UID, port))
        server.line()
        tool = lab.apptap(tier="bpf").wait_ready()
        run("srv", sys.executable, "-c", SENDS % port)
        assert tool.stop() == 0, tool.talk
    finally:
        run("app", "sysctl", "-qw", "net.ipv4.ip_forward=0")
        run("srv", "ip", "route", "del", "10.99.0.0/16")
    found = [p for _, p in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap")))
             if port in truth.ports(p)]
    assert [p[16:20] for p in found] == [bytes([10, 77, 0, 1])] * 20


def test_an_interface_that_comes_later(lab):
    """Its packets are captured too: they carry its name."""
    def ip(*args):
        subprocess.run([*lab.inside("app"), "ip", *args], check=True)
    tool = lab.apptap(tier="bpf", name="late.pcapng").wait_ready()
    ip("link", "add", "late0", "type", "veth", "peer", "name", "late1")
    try:
        ip("link", "set", "late1", "up")
        ip("link", "set", "late0", "up")
        ip("addr", "add", "10.79.0.1/24", "dev", "late0")
        end = time.monotonic() + 10
        # UDP, until the tool has seen one: it learns of the interface a moment after we have made it.
        while time.monotonic() < end and os.path.getsize(tool.path) < 1000:
            subprocess.run([*lab.inside("app"), "ip", "neigh", "replace", "10.79.0.2", "lladdr",
                            "02:00:00:00:00:09", "dev", "late0"], check=True)
            subprocess.run([*lab.inside("app"), "setpriv", "--reuid", str(truth.APP_UID), "--clear-groups",
                            sys.executable, "-c", "import socket; s = socket.socket(2, 2)\n"
                            "for i in range(20): s.sendto(b'late', ('10.79.0.2', 9999))"], check=True)
        assert tool.stop() == 0, tool.talk
    finally:
        ip("link", "del", "late0")
    names = subprocess.run(["tshark", "-n", "-r", tool.path, "-T", "fields", "-e", "frame.interface_name"],
                           capture_output=True, text=True, check=True).stdout.split()
    assert "late0" in names, names


def signal_to(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def test_killed_at_any_moment(lab):
    """SIGKILL of the agent, or of both: no program, map or process of ours stays."""
    ours = set()
    chance = random.Random(1)
    argv = [*lab.inside("app"), lab_module.APPTAP, "--uid", str(truth.APP_UID), "--local", "--tier", "bpf",
            "-o", lab.file("killed.pcapng")]
    agents, deep = [], 0
    for i in range(KILLS):
        proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        time.sleep(chance.random() * 0.15)	# the random moment is the point
        below = processes.descendants(proc.pid)
        agents += [(p, os.pidfd_open(p)) for p in below if os.path.exists(f"/proc/{p}")]
        for pid in below:
            signal_to(pid, signal.SIGSTOP)	# so that it is known what it had then
        had = held(proc.pid)
        ours |= had
        deep += bool(had)
        for pid in below if i % 2 and below else [proc.pid, *below]:
            signal_to(pid, signal.SIGKILL)
        proc.wait(lab_module.WAIT)
    assert program.gone_within([fd for _, fd in agents], 5)
    for _, fd in agents:
        os.close(fd)
    assert gone(ours), in_kernel() & ours
    assert deep > KILLS / 4, f"only {deep} of {KILLS} had programs in the kernel"
    print(f"{deep} of {KILLS} had programs in the kernel when they were killed")
