"""By process: what one process and its descendants send and get, beside the same of another one of the
same user, in the same cgroup; exact, in the tier bpf. And the packets say which process it was."""
import os
import socket
import subprocess
import sys
import time

import pytest

import lab as lab_module
import truth

pytestmark = pytest.mark.usefixtures("need_apptap")
FAMILY = os.path.join(os.path.dirname(__file__), "family.py")
BASES = {"app": 20000, "bystander": 30000}


@pytest.fixture(autouse=True)
def works():
    if "bpf" not in os.environ.get("APPTAP_TIERS", "bpf").split(","):
        pytest.skip("the tier bpf is not among APPTAP_TIERS")


@pytest.fixture
def lab(fresh_lab):
    """Of its own: these ports are others' elsewhere, and what TIME_WAIT keeps is taken."""
    return fresh_lab


def capture(lab, pid, *options):
    path = lab.file("out.pcapng")
    return lab.capture([lab_module.APPTAP, "--pid", str(pid), *options, "--local", "-v", "--json", "-o", path],
                       path).wait_ready()


def judged(lab, tool, reference, begun):
    """What is in the file, held against the reference; and who the tool says it was."""
    ended = time.time()
    assert tool.stop() == 0, tool.talk
    reference.stop()
    account = tool.json()
    assert account["tier"] == "bpf", account
    report = truth.compare(reference.paths, truth.to_pcap(tool.path, lab.file("ours.pcap")), begun, ended)
    assert not report.unknown
    print(report.complain(report.total), account["counters"])
    return report.total


# Connects to the ports named, twice each, and has a word sent back three times.
FAR = """
import socket, sys
for port in sys.argv[1:]:
    for _ in range(2):
        with socket.create_connection(("10.77.0.1", int(port))) as s:
            for _ in range(3):
                s.sendall(b"question"); s.recv(100)
"""


def test_every_way_to_be_a_descendant(lab):
    reference, sides = lab_module.Reference(lab), {}
    for role, base in BASES.items():
        sides[role] = lab.program("app", sys.executable, FAMILY, str(base), str(truth.APP_UID))
        sides[role].line()
    tool = capture(lab, sides["app"].proc.pid, "--tree")
    begun = time.time()
    for p in sides.values():
        p.say("go")
        assert p.line() == "listening"
    subprocess.run([*lab.inside("srv"), sys.executable, "-c", FAR,
                    *(str(base + n) for base in BASES.values() for n in (2, 3))], check=True)
    for p in sides.values():
        assert p.line() == "done"
    total = judged(lab, tool, reference, begun)
    assert total.expected > 250 and total.bystander > 250
    assert total.recall == 1 and not total.leaked and not total.extra
    # All of the 100 whose life was shorter than any look at it.
    ours = [truth.ports(p) for _, p in truth.packets(lab.file("ours.pcap")) if p]
    assert {a for a, b in ours if b == 7002} == set(range(20100, 20200))


CHILD = """
import os, socket, sys
sys.stdin.readline()
def send(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.77.0.1", port)); s.settimeout(10); s.sendto(b"x", ("10.77.0.2", 7001)); s.recv(10)
child = os.fork()
if not child:
    send(20001); os._exit(0)
os.waitpid(child, 0)
print(child, flush=True)
sys.stdin.readline()
"""
# clone3() with set_tid: the first process of the row that nobody has meanwhile.
REUSE = """
import ctypes, os, socket, struct, sys
tid = ctypes.c_int(int(sys.argv[1]))
args = ctypes.create_string_buffer(struct.pack("=11Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(tid), 1, 0))
child = ctypes.PyDLL(None, use_errno=True).syscall(435, args, 88)
if child == 0:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.77.0.1", 30001)); s.settimeout(10); s.sendto(b"x", ("10.77.0.2", 7001)); s.recv(10)
    os._exit(0)
assert child == tid.value, ctypes.get_errno()
os.waitpid(child, 0)
"""


def test_the_number_of_a_descendant_passes_to_a_stranger(lab):
    reference = lab_module.Reference(lab)
    parent = lab.program("app", sys.executable, "-c", CHILD)
    tool = capture(lab, parent.proc.pid, "--tree")
    begun = time.time()
    parent.say("go")
    pid = parent.line()
    subprocess.run([*lab.inside("app"), sys.executable, "-c", REUSE, pid], check=True)
    total = judged(lab, tool, reference, begun)
    assert total.expected == 2 and total.bystander == 2
    assert total.recall == 1 and not total.leaked and not total.extra


ALONE = """
import os, socket, sys
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.77.0.1", port)); s.settimeout(10); return s
def ask(s):
    for _ in range(10): s.sendto(b"x", ("10.77.0.2", 7001)); s.recv(10)
old = udp(20000)
print("here", flush=True); sys.stdin.readline()
ask(old); ask(udp(20001))
child = os.fork()
if not child:
    ask(udp(30001)); os._exit(0)	# a bystander here
os.waitpid(child, 0)
print("done", flush=True); sys.stdin.readline()
"""


def test_a_process_alone(lab):
    """Its sockets, old and new, and none of its children's."""
    reference = lab_module.Reference(lab)
    p = lab.program("app", sys.executable, "-c", ALONE)
    p.line()
    tool = capture(lab, p.proc.pid, "--scope", "process")
    begun = time.time()
    p.say("go")
    p.line()
    total = judged(lab, tool, reference, begun)
    assert total.expected == 40 and total.bystander == 20
    assert total.recall == 1 and not total.leaked and not total.extra


# A parent that listens, and two workers that accept in turns; each says whom it has served.
WORKERS = """
import os, socket, sys
s = socket.create_server(("10.77.0.1", 20000), backlog=100)
pids = []
for _ in range(2):
    pids.append(os.fork())
    if not pids[-1]:
        served = []
        while True:
            c, peer = s.accept()
            if c.recv(10) == b"end":
                break
            served.append(peer[1]); c.sendall(b"answer")
            c.recv(10)
        print("served", os.getpid(), *served, flush=True)
        os._exit(0)
print(*pids, flush=True)
for p in pids: os.waitpid(p, 0)
"""
CLIENTS = """
import socket
for i in range(52):
    with socket.create_connection(("10.77.0.1", 20000)) as s:
        s.sendall(b"question" if i < 50 else b"end"); s.recv(10)
"""


def test_a_worker_has_what_it_accepts(lab):
    """And not what its brother accepts from the same port, that both have from their parent."""
    p = lab.program("app", sys.executable, "-c", WORKERS)
    pids = p.line().split()
    tool = capture(lab, pids[0], "--scope", "process")
    subprocess.run([*lab.inside("srv"), sys.executable, "-c", CLIENTS], check=True)
    served = {words[1]: set(map(int, words[2:])) for words in (p.line().split(), p.line().split())}
    assert tool.stop() == 0, tool.talk
    ours = truth.to_pcap(tool.path, lab.file("ours.pcap"))
    found = {max(truth.ports(pkt)) for _, pkt in truth.packets(ours) if pkt}
    print(f"{len(served[pids[0]])} and {len(served[pids[1]])} served")
    wrong = (served[pids[0]] - found) | (found & served[pids[1]])
    times = [(ts, truth.words(ts, pkt)) for ts, pkt in truth.packets(ours) if pkt and wrong & set(truth.ports(pkt))]
    assert not wrong, times


# Over MPTCP (262) and TCP in turns: asks and closes first, or last. Then the other way round, as a server.
MULTIPATH = """
import socket, sys
base, peer = int(sys.argv[1]), int(sys.argv[2])
def ask(s, first):
    s.sendall(b"question"); s.recv(100)
    if not first: s.recv(100)
    s.close()
print("here", flush=True); sys.stdin.readline()
for i in range(8):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262 if i % 4 else 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("10.77.0.1", base + i)); s.connect(("10.77.0.2", peer)); ask(s, i % 2)
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("10.77.0.1", base + 9)); server.listen(20); print("listening", flush=True)
for i in range(8):
    c, _ = server.accept(); c.recv(100); c.sendall(b"answer")
    if i % 2: c.recv(100)
    c.close()
print("done", flush=True); sys.stdin.readline()
"""
MULTIPATH_FAR = """
import socket, sys
port, base = int(sys.argv[1]), int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("10.77.0.2", port)); server.listen(20); print("here", flush=True)
for i in range(8):
    c, _ = server.accept(); c.recv(100); c.sendall(b"answer")
    if i % 2: c.recv(100)
    c.close()
sys.stdin.readline()
for i in range(8):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262 if i % 4 else 0)
    s.connect(("10.77.0.1", base + 9)); s.sendall(b"question"); s.recv(100)
    if not i % 2: s.recv(100)
    s.close()
print("done", flush=True)
"""


@pytest.mark.parametrize("by", ["tree", "uid"])
def test_multipath(lab, by):
    """MPTCP: the kernel's own sockets are on the wire, and stand for the one that the app has."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
    except OSError:
        pytest.skip("needs MPTCP")
    reference, sides, far = lab_module.Reference(lab), {}, {}
    at = 500 if by == "tree" else 600	# what one leaves in TIME_WAIT is no port for the other
    for role, base in BASES.items():
        uid = truth.BYSTANDER_UID if by == "uid" and role == "bystander" else truth.APP_UID
        far[role] = lab.program("srv", sys.executable, "-c", MULTIPATH_FAR, str(base // 100 + 7000), str(base + at))
        far[role].line()
        sides[role] = lab.program("app", "setpriv", "--reuid", str(uid), "--clear-groups", sys.executable, "-c",
                                  MULTIPATH, str(base + at), str(base // 100 + 7000))
        sides[role].line()
    if by == "tree":
        tool = capture(lab, sides["app"].proc.pid, "--tree")
    else:
        tool = lab.apptap(tier="bpf").wait_ready()
    begun = time.time()
    for p in sides.values():
        p.say("go")
    for role, p in sides.items():
        assert p.line() == "listening"
        far[role].say("go")
    for p in (*far.values(), *sides.values()):
        assert p.line() == "done"
    time.sleep(0.1)	# the last goodbyes, which nobody waits for
    total = judged(lab, tool, reference, begun)
    assert total.expected > 150 and total.bystander > 150
    assert total.recall == 1 and not total.leaked and not total.extra
