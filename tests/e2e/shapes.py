"""shapes.py - where a tier's packets differ from those of a tap by design, and how they compare then

NFLOG sees a datagram before it is cut into fragments, or after they have been put together again.
So the reference is put together as well; everything else is held against it as it is.
"""
import struct

import truth

# Recall of a class through a tier where it is neither all nor the class's own; by iptables that
# sets nflog's (test_exact_iptables.py).
RECALL = {}
ALL = ("bpf", "nflog")	# tiers of which nothing is allowed to be missing in any class
EXACT = ("bpf",)	# and no second try is needed: they decide in the kernel alone
WHOLES = ("nflog",)	# tiers that deliver whole datagrams
HEADER = struct.Struct("<IHHiIII").pack(0xa1b23c4d, 2, 4, 0, 0, 0x40000, truth.LINK_ETHERNET)


def recall(workload, tier):
    return RECALL.get((tier, workload.name), 1.0 if tier in ALL else workload.recall)


class Datagram:
    """The fragments of one datagram, until they are all there."""

    def __init__(self):
        self.parts, self.first, self.size = {}, None, None

    def add(self, pkt, at, more, offset):
        self.parts[offset] = pkt[at:]
        if offset == 0:
            self.first = pkt
        if not more:
            self.size = offset + len(pkt) - at

    def payload(self):
        data = b""
        while len(data) in self.parts and (self.size is None or len(data) < self.size):
            data += self.parts[len(data)]
        return data if self.first and self.size == len(data) else None


def whole_v4(datagrams, pkt):
    word, head = pkt[6] << 8 | pkt[7], (pkt[0] & 15) * 4
    if not word & 0x3fff:
        return pkt
    key = pkt[12:20], pkt[4:6], pkt[9]
    datagram = datagrams.setdefault(key, Datagram())
    size = pkt[2] << 8 | pkt[3]
    datagram.add(pkt[:size], head, word & 0x2000, (word & 0x1fff) * 8)
    payload = datagram.payload()
    if payload is None:
        return None
    del datagrams[key]
    first = datagram.first
    return (first[:2] + struct.pack("!H", head + len(payload)) + first[4:6] + b"\0\0"
        + first[8:head] + payload)


def whole_v6(datagrams, pkt):
    if pkt[6] != 44:	# the lab's datagrams have no other extension header
        return pkt
    word = pkt[42] << 8 | pkt[43]
    key = pkt[8:40], pkt[44:48], 6
    datagram = datagrams.setdefault(key, Datagram())
    size = 40 + (pkt[4] << 8 | pkt[5])
    datagram.add(pkt[:size], 48, word & 1, word & 0xfff8)
    payload = datagram.payload()
    if payload is None:
        return None
    del datagrams[key]
    first = datagram.first
    return first[:4] + struct.pack("!H", len(payload)) + first[40:41] + first[7:40] + payload


def put_together(path, out):
    """The capture @path (Ethernet) with each datagram whole, when its last fragment has passed."""
    datagrams = {}
    records = truth.records(path)
    assert next(records) == truth.LINK_ETHERNET
    with open(out, "wb") as f:
        f.write(HEADER)
        for ts, frame in records:
            kind, pkt = frame[12:14], frame[14:]
            if kind == b"\x08\x00":
                pkt = whole_v4(datagrams, pkt)
            elif kind == b"\x86\xdd":
                pkt = whole_v6(datagrams, pkt)
            if pkt is None:
                continue
            size = 14 + len(pkt)
            ns = round(ts * 1e9)
            f.write(struct.pack("<IIII", ns // 10**9, ns % 10**9, size, size) + frame[:14] + pkt)
    return out


def reference(paths, tier):
    """The reference in the shape of the tier."""
    if tier not in WHOLES:
        return paths
    return [put_together(path, path + ".whole") for path in paths]
