"""The tier bpf where a port passes from a stranger's socket to the app's while somebody floods it: what is
sent once it has passed is the app's, from the first datagram on. (An answer that was true a moment
ago is not looked up again, src/bpf/lately.h: here is who would notice.)"""
import struct
import sys

import pytest

import truth
from test_bpf import works  # noqa: F401

pytestmark = pytest.mark.usefixtures("need_apptap")
ROUNDS = 6
# One page for both ends: the port to flood, 0: none; the number of the datagram that is about to go.
FLOOD = """
import mmap, os, socket, struct, sys, time
page = memoryview(mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)).cast("Q")
both = [socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6)]
for s, a in zip(both, ("10.77.0.2", "fd77::2")):
    s.bind((a, 50999))
print("bound", flush=True)
number = 0
while True:
    port = page[0]
    if not port:
        time.sleep(0.0005)
        continue
    v6 = port >> 16
    number += 1
    page[1] = number
    try:
        both[v6].sendto(struct.pack("!Q", number), (("10.77.0.1", "fd77::1")[v6], port & 0xffff))
    except OSError:
        pass	# refused, for a moment
"""
# The sockets of both users, so that one follows the other at once.
ENDS = """
import mmap, os, socket, struct, sys, time
page = memoryview(mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)).cast("Q")
app, stranger, rounds = map(int, sys.argv[2:])
LOCAL_PORT_RANGE, RCVBUFFORCE = 51, 33
far = {socket.AF_INET: ("10.77.0.2", 50999), socket.AF_INET6: ("fd77::2", 50999)}
near = {socket.AF_INET: "10.77.0.1", socket.AF_INET6: "fd77::1"}

def make(family, uid):
    os.seteuid(uid)
    s = socket.socket(family, socket.SOCK_DGRAM)
    os.seteuid(0)
    s.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 64 << 20)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setblocking(False)
    return s

def got(s):
    found = []
    try:
        while True:
            found.append(struct.unpack("!Q", s.recv(100))[0])
    except BlockingIOError:
        return found

def flood(family, port):
    page[0] = port | (family == socket.AF_INET6) << 16
    time.sleep(0.2)	# so long that the port is none that has just changed hands

def pass_by_bind(family, port):
    first, second = make(family, stranger), make(family, app)
    first.bind(("", port))
    flood(family, port)
    second.bind((near[family], port))
    return page[1], first, second, []

def pass_by_close(family, port):
    first, second = make(family, stranger), make(family, app)
    first.bind((near[family], port))
    first.connect(far[family])
    second.bind(("", port))
    flood(family, port)
    early = got(first)
    first.close()
    return page[1], None, second, early

def pass_by_connect(family, port):	# which chooses a port, the only one there is
    first, second = make(family, stranger), make(family, app)
    for s in (first, second):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    second.setsockopt(socket.IPPROTO_IP, LOCAL_PORT_RANGE, port | port << 16)
    first.bind(("", port))
    flood(family, port)
    early = got(first)
    first.close()
    second.connect(far[family])
    assert second.getsockname()[1] == port
    return page[1], None, second, early

ways = [pass_by_bind, pass_by_close]
if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 3):	# IP_LOCAL_PORT_RANGE of a socket
    ways.append(pass_by_connect)
port = 30100	# each is the app's but once: then it is known as one of the app's
for _ in range(rounds):
    for how in ways:
        for family in far:
            port += 1
            number, first, second, theirs = how(family, port)
            time.sleep(0.004)
            page[0] = 0
            time.sleep(0.004)
            ours = [n for n in got(second) if n > number]
            theirs += got(first) if first else []
            for s in (first, second):
                s and s.close()
            print(how.__name__, family.name, "/", *ours, "/", *theirs, flush=True)
print("done", flush=True)
"""


def in_file(lab, path):
    """The numbers of the datagrams that are there."""
    found = []
    for _, pkt in truth.packets(truth.to_pcap(path, lab.file("ours.pcap"))):
        if pkt and truth.ports(pkt)[:1] == (50999,):
            found.append(struct.unpack("!Q", pkt[-8:])[0])
    return found


def test_port_passed(lab):
    page = lab.file("page")
    with open(page, "wb") as f:
        f.write(bytes(4096))
    flood = lab.program("srv", sys.executable, "-c", FLOOD, page)
    assert flood.line() == "bound"
    tool = lab.apptap(tier="bpf").wait_ready()
    ends = lab.program("app", sys.executable, "-c", ENDS, page, str(truth.APP_UID), str(truth.BYSTANDER_UID),
                       str(ROUNDS))
    ours, theirs = {}, set()
    while (line := ends.line()) != "done":
        how, mine, other = line.split("/")
        ours.setdefault(how, []).append({int(n) for n in mine.split()})
        theirs |= {int(n) for n in other.split()}
    assert tool.stop() == 0, tool.talk
    found = in_file(lab, tool.path)
    assert len(found) == len(set(found))
    assert len(theirs) > 1000 and not theirs & set(found), len(theirs)
    assert len(ours) >= 4
    for how, rounds in ours.items():
        assert len(rounds) == ROUNDS and sum(map(len, rounds)) > 10 * ROUNDS, how
        missing = [len(r - set(found)) for r in rounds]
        assert not any(missing), (how, missing)
