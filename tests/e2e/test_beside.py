"""The tier bpf beside tcx programs of somebody else (Cilium's are such): they see what they saw without
us, what they decide is done, and the capture is exact whatever that is."""
import collections
import os
import subprocess
import sys
import time

import pytest

import lab as lab_module
import truth
from test_bpf import gone, held, works  # noqa: F401

pytestmark = pytest.mark.usefixtures("need_apptap")
TCX = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tcx.py")
COUNT = 100
TALKS = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.1", int(sys.argv[2])))
s.settimeout(float(sys.argv[3]))
got = 0
for i in range(%d):
    s.sendto(b"hello %%d" %% i, ("10.77.0.2", 7001))
    try:
        got += bool(s.recv(100))
    except TimeoutError:
        pass
print(got)
""" % COUNT
PORTS = {truth.APP_UID: 20100, truth.BYSTANDER_UID: 30100}


class Stranger:
    """Programs of somebody else on veth0: their verdicts on the way in and out."""

    def __init__(self, lab, place, *verdicts):
        self.program = lab.program("app", sys.executable, TCX, "veth0", place, *verdicts)
        assert self.program.line() == "ready"

    def counts(self):
        self.program.say("")
        return tuple(map(int, self.program.line().split()))


def settles(read, wanted, seconds=5):
    """Whether it reads that, once what is under way has arrived."""
    end = time.monotonic() + seconds
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.01)	# nothing tells
    return found


def talk(lab, replies):
    """App and bystander ask the far end the same; returns how many answers each got."""
    both = [lab.program("app", sys.executable, "-c", TALKS, str(uid), str(port), "5" if replies else "0.002")
            for uid, port in PORTS.items()]
    return [int(p.line()) for p in both]


def recorded(lab, tool):
    """Packets of the app by interface and direction; nobody else's are there."""
    done = subprocess.run(["tshark", "-n", "-r", tool.path, "-T", "fields", "-E", "separator=,",
                           "-e", "frame.interface_name", "-e", "sll.pkttype", "-e", "udp.srcport",
                           "-e", "udp.dstport"], capture_output=True, text=True, check=True)
    found = collections.Counter()
    for line in done.stdout.split():
        name, kind, *ports = line.split(",")
        assert str(PORTS[truth.APP_UID]) in ports, line
        found[name, "out" if kind == "4" else "in"] += 1
    return found


@pytest.fixture
def elsewhere(lab):
    """An interface to redirect to."""
    def ip(*args):
        subprocess.run([*lab.inside("app"), "ip", *args], check=True)
    ip("link", "add", "else0", "type", "veth", "peer", "name", "else1")
    ip("link", "set", "else0", "up")
    ip("link", "set", "else1", "up")
    done = subprocess.run([*lab.inside("app"), "cat", "/proc/net/dev_mcast"], capture_output=True, text=True)
    yield next(line.split()[0] for line in done.stdout.splitlines() if line.split()[1] == "else0")
    ip("link", "del", "else0")


@pytest.mark.parametrize("place, verdicts, got, on", [
    ("last", ["ok"], COUNT, {("veth0", "out"): COUNT, ("veth0", "in"): COUNT}),
    ("first", ["next"], COUNT, {("veth0", "out"): COUNT, ("veth0", "in"): COUNT}),
    # Dropped behind us: it came to this machine, and was the app's.
    ("last", ["shot", "next"], 0, {("veth0", "out"): COUNT, ("veth0", "in"): COUNT}),
    ("last", ["next", "shot"], 0, {("veth0", "out"): COUNT}),
    # It leaves twice, as far as interfaces are concerned, and each is named.
    ("last", ["next", "redirect"], 0, {("veth0", "out"): COUNT, ("else0", "out"): COUNT}),
], ids=lambda v: "-".join(v) if isinstance(v, list) else None)
def test_programs_of_others(lab, elsewhere, place, verdicts, got, on):
    verdicts = [f"redirect:{elsewhere}" if v == "redirect" else v for v in verdicts]
    expected = (2 * on.get(("veth0", "in"), 0), 2 * on["veth0", "out"])
    theirs = Stranger(lab, place, *verdicts) if place == "last" else None
    if theirs:	# without us
        assert talk(lab, got) == [got, got]
        assert settles(theirs.counts, expected) == expected
    tool = lab.apptap(tier="bpf").wait_ready()
    ours = held(tool.proc.pid)
    theirs = theirs or Stranger(lab, place, *verdicts)
    start = theirs.counts()
    assert talk(lab, got) == [got, got]
    beside = tuple(a + b for a, b in zip(start, expected))
    assert settles(theirs.counts, beside) == beside
    assert tool.stop() == 0, tool.talk
    assert recorded(lab, tool) == on
    assert gone(ours)


NUMBERS = """
import os, socket, struct, sys, time
os.setuid(%d)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.1", %d))
print("bound", flush=True)
end = float(sys.stdin.readline())
number = 0
while time.monotonic() < end:
    s.sendto(struct.pack("!Q", number), ("10.77.0.2", 7001))
    number += 1
    time.sleep(0.00002)
print(number, flush=True)
""" % (truth.APP_UID, PORTS[truth.APP_UID])
# Again and again, at the way out only.
INSISTS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import socket, tcx
link = tcx.attach(tcx.nothing(), socket.if_nametoindex("veth0"), tcx.EGRESS)
print("ready", flush=True)
while True:
    time.sleep(0.4)
    before, link = link, tcx.attach(tcx.nothing(), socket.if_nametoindex("veth0"), tcx.EGRESS)
    os.close(before)
"""


def warned(tool, words, seconds=10):
    """Until the capture has said so."""
    end = time.monotonic() + seconds
    while not any(words in line for line in tool.talk):
        assert time.monotonic() < end, tool.talk
        time.sleep(0.01)


def test_somebody_steps_in_front(lab):
    """Found within a second, and said: what he drops from then on is there again."""
    tool = lab.apptap(tier="bpf").wait_ready()
    ours = held(tool.proc.pid)
    theirs = Stranger(lab, "first", "shot", "next")
    warned(tool, "put theirs before them; ours are the first again")
    start = theirs.counts()
    assert talk(lab, 0) == [0, 0]
    assert settles(theirs.counts, (start[0] + 2 * COUNT, start[1] + 2 * COUNT))
    assert tool.stop() == 0, tool.talk
    assert recorded(lab, tool) == {("veth0", "out"): COUNT, ("veth0", "in"): COUNT}
    assert [w for w in tool.json()["warnings"] if "veth0" in w and "before them" in w]
    assert gone(ours)


def test_nothing_twice_meanwhile(lab):
    """While ours goes to the front packets pass: next to none is missing, and none is there twice."""
    tool = lab.apptap(tier="bpf").wait_ready()
    program = lab.program("app", sys.executable, "-c", NUMBERS)
    assert program.line() == "bound"
    program.say(str(time.monotonic() + 2.5))
    for _ in range(2):
        Stranger(lab, "first", "next")
        time.sleep(1.1)	# until the next look has been
    sent = int(program.line())
    assert tool.stop() == 0, tool.talk
    found = collections.Counter(
        pkt[-8:] for _, pkt in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap")))
        if pkt and truth.ports(pkt) == (PORTS[truth.APP_UID], 7001))
    assert sum("ours are the first again" in w for w in tool.json()["warnings"]) == 2
    assert sent > 5000 and max(found.values()) == 1
    assert sent - len(found) <= 20, (sent, len(found))


def test_captures_do_not_fight(lab):
    """Each wants to be the first; the others of ours before it are no news."""
    both = [lab.apptap(tier="bpf", name=f"{n}.pcapng").wait_ready() for n in range(2)]
    Stranger(lab, "last", "next")	# so that there is something to look at
    time.sleep(2.2)
    assert talk(lab, COUNT) == [COUNT, COUNT]
    for tool in both:
        assert tool.stop() == 0
        assert tool.json()["warnings"] == []
        assert recorded(lab, tool) == {("veth0", "out"): COUNT, ("veth0", "in"): COUNT}


def test_somebody_insists(lab):
    """Five times; then he has it, and it is said what that means."""
    tool = lab.apptap(tier="bpf").wait_ready()
    assert lab.program("app", sys.executable, "-c", INSISTS, os.path.dirname(TCX)).line() == "ready"
    warned(tool, "always puts a program before ours", 20)
    assert talk(lab, COUNT) == [COUNT, COUNT]
    assert tool.stop() == 0
    warnings = tool.json()["warnings"]
    assert sum("ours are the first again" in w for w in warnings) == 5 and len(warnings) == 6, warnings
    assert recorded(lab, tool) == {("veth0", "out"): COUNT, ("veth0", "in"): COUNT}
