"""A UDP port that the app and somebody else have bound together, as mDNS and SSDP do"""
import collections
import socket
import sys

import pytest

import truth

# Its rules see a multicast that loops back to the app, which gets it, too: the other's come in.
NOT_THROUGH = ("nflog",)
PORT, GROUP, COUNT = 5353, "224.0.0.251", 200
pytestmark = pytest.mark.usefixtures("need_apptap")

# Sends COUNT datagrams from the port to the group, and waits until it has got those of the far end.
MEMBER = """
import os, socket, struct, sys, time
uid, letter, port, group, count = int(sys.argv[1]), sys.argv[2].encode(), *map(eval, sys.argv[3:])
os.setgid(uid); os.setuid(uid)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", port))
here = socket.inet_aton("10.77.0.1")
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + here)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
print("bound", flush=True)
sys.stdin.readline()
got, sent = set(), 0
while len(got) < count or sent < count:
    if sent < count:
        s.sendto(letter + struct.pack("!H", sent), (group, port))
        sent += 1
    s.settimeout(0.001 if sent < count else 20)
    try:
        while True:
            data = s.recv(100)
            if data[:1] == b"F":
                got.add(data)
            if len(got) == count:
                break
    except TimeoutError:
        if sent == count:
            raise
print("done", flush=True)
sys.stdin.readline()
"""
FAR = """
import socket, struct, sys, time
port, group, count = map(eval, sys.argv[1:])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.2"))
print("bound", flush=True)
sys.stdin.readline()
for i in range(count):
    s.sendto(b"F" + struct.pack("!H", i), (group, port))
    time.sleep(0.001)
print("done", flush=True)
sys.stdin.readline()
"""
WHAT = [str(PORT), repr(GROUP), str(COUNT)]


def letters(path):
    """How many datagrams of the port begin with which letter."""
    found = collections.Counter()
    for _, pkt in truth.packets(path):
        if pkt and pkt[0] >> 4 == 4 and pkt[9] == socket.IPPROTO_UDP and PORT in truth.ports(pkt):
            found[chr(pkt[(pkt[0] & 15) * 4 + 8])] += 1
    return found


def test_shared_port(lab, tier):
    """What comes in for both is in the file; what the other sends from the port is not. Who of the
    two sent a packet is more than sockdiag can tell: it leaves the app's own out, and counts them."""
    members = [lab.program("app", sys.executable, "-c", MEMBER, str(uid), letter, *WHAT)
               for uid, letter in ((truth.APP_UID, "A"), (truth.BYSTANDER_UID, "B"))]
    programs = [*members, lab.program("srv", sys.executable, "-c", FAR, *WHAT)]
    for p in programs:
        assert p.line() == "bound"
    tool = lab.apptap(tier=tier).wait_ready()
    for p in programs:
        p.say("go")
    for p in programs:
        assert p.line() == "done"
    assert tool.stop() == 0, tool.talk
    found = letters(truth.to_pcap(tool.path, lab.file("ours.pcap")))
    assert found["B"] == 0, found
    assert found["F"] == COUNT, found
    if tier == "sockdiag":
        assert found["A"] + tool.json()["counters"]["unattributed"] >= COUNT, found
    else:
        assert found["A"] == COUNT, found
