"""truth.py - whose packet is it, told by its ports alone, and a capture held against that

Every socket of the lab has its local port in a range that belongs to its UID, so a packet names its
owner itself. No tool under test has a say here, and AppTap's own reader is not used: what it wrote
comes through editcap or tcpdump.
"""
import collections
import shutil
import struct
import subprocess

APP_UID, BYSTANDER_UID = 5001, 5002
APP_PORTS, BYSTANDER_PORTS = range(20000, 30000), range(30000, 40000)
SHARED_PORTS = range(40000, 41000)
SLOT = 340	# ports of one class in each UID's range
APP_RAW, BYSTANDER_RAW = 253, 254
NAMED = ("raw", "port_reuse", "port_reuse_tcp")    # classes that are not told by a range of ports
APP, BYSTANDER, NOBODY, UNKNOWN = "app", "bystander", "nobody", "unknown"
TCP, UDP, UDPLITE, ICMP, ICMP6 = 6, 17, 136, 1, 58
NAMES = {TCP: "TCP", UDP: "UDP", UDPLITE: "UDP-Lite", ICMP: "ICMP", ICMP6: "ICMPv6"}
LINK_ETHERNET, LINK_SLL2 = 1, 276
PORTS = struct.Struct("!HH").unpack_from


def records(path):
    """The packets of a pcap file as (seconds, link-layer bytes) after its link type."""
    with open(path, "rb") as f:
        data = f.read()
    for order in "<>":
        magic, = struct.unpack_from(order + "I", data)
        if magic in (0xa1b2c3d4, 0xa1b23c4d):
            break
    else:
        raise ValueError(f"{path}: not a pcap file")
    unit = 1e-9 if magic == 0xa1b23c4d else 1e-6
    yield struct.unpack_from(order + "I", data, 20)[0] & 0xffff
    head = struct.Struct(order + "IIII").unpack_from
    at, size = 24, len(data)
    while at + 16 <= size:
        sec, frac, caplen, _ = head(data, at)
        at += 16
        if at + caplen > size:
            break
        yield sec + frac * unit, data[at:at + caplen]
        at += caplen


def packets(path):
    """The packets of a pcap file as (seconds, network-layer bytes or None when not IP)."""
    it = records(path)
    link = next(it)
    if link not in (LINK_ETHERNET, LINK_SLL2):
        raise ValueError(f"{path}: link type {link}")
    at, skip = (12, 14) if link == LINK_ETHERNET else (0, 20)
    for ts, frame in it:
        kind = frame[at:at + 2]
        yield ts, frame[skip:] if kind in (b"\x08\x00", b"\x86\xdd") else None


def to_pcap(path, out, reader=None):
    """Has somebody else's reader turn a capture (pcapng or pcap) into nanosecond pcap."""
    reader = reader or ("editcap" if shutil.which("editcap") else "tcpdump")
    if reader == "editcap":
        cmd = ["editcap", "-F", "nsecpcap", path, out]
    else:
        cmd = ["tcpdump", "-Z", "root", "--nano", "-r", path, "-w", out]
    done = subprocess.run(cmd, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{reader} cannot read {path}: {done.stderr.strip()}")
    return out


def upper(pkt):
    """(transport, its offset, fragment identity or None, is it a later fragment)."""
    if pkt[0] >> 4 == 4:
        frag = pkt[6] << 8 | pkt[7]
        ident = (pkt[12:20], pkt[4:6], pkt[9]) if frag & 0x3fff else None
        return pkt[9], (pkt[0] & 15) * 4, ident, bool(frag & 0x1fff)
    proto, at, ident, later = pkt[6], 40, None, False
    while proto in (0, 43, 44, 60) and at + 8 <= len(pkt):
        if proto == 44:
            ident = pkt[8:40], pkt[at + 4:at + 8], 6
            later = bool((pkt[at + 2] << 8 | pkt[at + 3]) & 0xfff8)
            proto, at = pkt[at], at + 8
            if later:
                break
        else:
            proto, at = pkt[at], at + (pkt[at + 1] + 1) * 8
    return proto, at, ident, later


def key_of(pkt):
    """The packet as a number, without what offloads change: TTL; IP, TCP and UDP checksums."""
    proto, at, _, later = upper(pkt)
    head = pkt[:8] + pkt[9:10] if pkt[0] >> 4 == 4 else pkt[:7]
    start = 12 if pkt[0] >> 4 == 4 else 8
    hole = None if later else {TCP: 16, UDP: 6, UDPLITE: 6}.get(proto)
    if hole is None:
        return hash(head + pkt[start:])
    return hash(head + pkt[start:at + hole] + pkt[at + hole + 2:])


def in_time_order(path):
    """
    The packets by their time, and how many were written after a later one, and the furthest by how
    many seconds. Fragments and turns at a port are told from what came before them, and a capture
    under load may write its packets slightly out of order.
    """
    found, late, late_by, newest = list(packets(path)), 0, 0.0, 0.0
    for ts, _ in found:
        if ts < newest:
            late, late_by = late + 1, max(late_by, newest - ts)
        newest = max(newest, ts)
    found.sort(key=lambda packet: packet[0])
    return found, late, late_by


def is_beacon(pkt, proto, at):
    """What the tier nflog sends over loopback to prove its rules, from any port: no class says that."""
    return proto == UDP and pkt[at + 8:] == b"apptap"


class Owners:
    """
    Says of packet after packet, in order of time, whose it is; remembers fragments and turns at a
    reused port.
    """

    def __init__(self):
        self.fragments = {}
        self.turns = {}

    def of(self, pkt):
        """(owner, class: its slot, or one of NAMED, or None)."""
        proto, at, ident, later = upper(pkt)
        if later:
            return self.fragments.get(ident, (UNKNOWN, None))
        who = self.by_transport(pkt, proto, at)
        if ident:
            self.fragments[ident] = who
        return who

    def by_transport(self, pkt, proto, at):
        if proto in (APP_RAW, BYSTANDER_RAW):
            return (APP if proto == APP_RAW else BYSTANDER), "raw"
        if proto in (ICMP, ICMP6) and len(pkt) >= at + 8:
            kind = pkt[at]
            if kind in ((0, 8) if proto == ICMP else (128, 129)):
                return self.by_ports(pkt, 0, *PORTS(pkt, at + 4)[:1], 0, None)
            if kind in ((3, 4, 11, 12) if proto == ICMP else (1, 2, 3, 4)):
                inner = pkt[at + 8:]
                proto, at, _, later = upper(inner)
                if proto in (APP_RAW, BYSTANDER_RAW):
                    return (APP if proto == APP_RAW else BYSTANDER), "raw"
                if not later and len(inner) >= at + 4 and not is_beacon(inner, proto, at):
                    return self.by_ports(inner, proto, *PORTS(inner, at), None)
            return NOBODY, None
        if proto in (TCP, UDP, UDPLITE) and len(pkt) >= at + 8 and not is_beacon(pkt, proto, at):
            return self.by_ports(pkt, proto, *PORTS(pkt, at), at)
        return NOBODY, None

    def by_ports(self, pkt, proto, a, b, at):
        for port in (a, b):
            if 20000 <= port < 30000:
                return APP, (port - 20000) // SLOT
        for port in (a, b):
            if 30000 <= port < 40000:
                return BYSTANDER, (port - 30000) // SLOT
        for port in (a, b):
            if port in SHARED_PORTS and at is not None:
                name = "port_reuse" if proto == UDP else "port_reuse_tcp"
                return self.by_turn(pkt, proto, port, at), name
        return NOBODY, None

    def by_turn(self, pkt, proto, port, at):
        if proto == UDP:
            return {65: APP, 66: BYSTANDER}.get(pkt[at + 8] if len(pkt) > at + 8 else 0, UNKNOWN)
        # TCP: the bystander first, then in turns: each new SYN of ours is the next one's.
        turn, seq = self.turns.get(port, (0, None))
        if pkt[at + 13] & 0x12 == 2 and pkt[at + 4:at + 8] != seq:
            turn += 1
            self.turns[port] = turn, pkt[at + 4:at + 8]
        who = APP if turn and turn % 2 == 0 else BYSTANDER
        said = pkt[at + (pkt[at + 12] >> 4) * 4:][:1]    # what it sends says so as well
        return UNKNOWN if said in (b"A", b"B") and (said == b"A") != (who is APP) else who


def ports(pkt):
    """Source and destination port; () where there are none."""
    proto, at, _, later = upper(pkt)
    return PORTS(pkt, at) if proto in (TCP, UDP, UDPLITE) and not later else ()


def address(raw):
    if len(raw) == 4:
        return ".".join(map(str, raw))
    return ":".join(f"{a << 8 | b:x}" for a, b in zip(raw[::2], raw[1::2]))


def words(ts, pkt):
    """A packet in words, for the message of a failure."""
    if pkt is None:
        return f"{ts:.6f} not IP"
    proto, at, ident, later = upper(pkt)
    v4 = pkt[0] >> 4 == 4
    ends = (pkt[12:16], pkt[16:20]) if v4 else (pkt[8:24], pkt[24:40])
    name = NAMES.get(proto, f"protocol {proto}")
    text = f"{ts:.6f} {address(ends[0])} > {address(ends[1])} {name}"
    if later:
        return f"{text} later fragment, {len(pkt)} bytes"
    if proto in (TCP, UDP, UDPLITE) and len(pkt) >= at + 4:
        text += " %d > %d" % PORTS(pkt, at)
    if proto == TCP and len(pkt) > at + 13:
        text += " [" + "".join(c for i, c in enumerate("FSRPA") if pkt[at + 13] & 1 << i) + "]"
    if proto in (ICMP, ICMP6) and len(pkt) >= at + 6:
        text += f" type {pkt[at]} code {pkt[at + 1]} id {PORTS(pkt, at + 4)[0]}"
        if len(pkt) > at + 8 + 28 and pkt[at] in (1, 3):
            text += " about (" + words(ts, pkt[at + 8:]).split(" ", 1)[1] + ")"
    return f"{text}{' first fragment' if ident else ''}, {len(pkt)} bytes"


class Tally:
    """What became of one class's packets."""

    def __init__(self):
        self.expected = self.bystander = self.got = 0
        self.missing, self.leaked, self.extra = [], [], []

    @property
    def recall(self):
        return self.got / self.expected if self.expected else 1.0

    def add(self, other):
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Report:
    """A capture held against the reference: a Tally for each class slot, and one for all."""

    def __init__(self):
        self.slots = collections.defaultdict(Tally)
        self.unknown = []	# of the reference: the lab itself could not say whose
        self.late, self.late_by = 0, 0.0    # packets written out of time order; by seconds at most

    @property
    def total(self):
        total = Tally()
        for tally in self.slots.values():
            total.add(tally)
        return total

    def complain(self, tally=None):
        """The first offenders in words."""
        tally = tally or self.total
        lines = [f"recall {tally.got}/{tally.expected} = {tally.recall:.4%}, "
                 f"leak {len(tally.leaked)}, "
             f"extra {len(tally.extra)}, of the bystander there were {tally.bystander}"]
        for name in ("missing", "leaked", "extra"):
            some = getattr(tally, name)
            lines += [f"  {name}: {words(*p)}" for p in some[:6]]
            if len(some) > 6:
                lines.append(f"  {name}: and {len(some) - 6} more")
        return "\n".join(lines)


def _of_the_app(path, report, shared, start, end):
    """The app's packets of one reference file as (seconds, packet, key, slot); counts the rest."""
    owners = Owners()
    for ts, pkt in in_time_order(path)[0]:
        who, slot = owners.of(pkt) if pkt else (NOBODY, None)
        if who is UNKNOWN and start <= ts <= end:
            report.unknown.append((ts, pkt))
        if who is BYSTANDER:
            report.slots[slot].bystander += start <= ts <= end
        if slot in NAMED[1:] or pkt and upper(pkt)[3]:
            shared[key_of(pkt)] = who, slot
        if who is APP:
            yield ts, pkt, key_of(pkt), slot


def compare(reference, output, start=0.0, end=float("inf")):
    """
    Holds @output (a pcap) against the pcaps @reference: what of the app was seen between @start and
    @end must be there, once; what is there must be the app's and be in the reference.
    """
    report, shared, truth = Report(), {}, []
    for path in reference:
        truth += _of_the_app(path, report, shared, start, end)
    ours, owners = collections.defaultdict(list), Owners()
    written, report.late, report.late_by = in_time_order(output)
    for ts, pkt in written:
        who, slot = owners.of(pkt) if pkt else (NOBODY, None)
        key = key_of(pkt) if pkt else None
        # Turns, and fragments whose first is not in the file: as the reference, which has all.
        if slot in NAMED[1:] or who is UNKNOWN:
            who, slot = shared.get(key, (who, slot))
        if who is APP:
            ours[key].append((ts, pkt, slot))
        else:
            report.slots[slot].leaked.append((ts, pkt))
    # In the window first: a packet with the same bytes outside of it must not take its place.
    for ts, pkt, key, slot in sorted(truth, key=lambda t: not start <= t[0] <= end):
        found = ours.get(key)
        if start <= ts <= end:
            tally = report.slots[slot]
            tally.expected += 1
            tally.got += bool(found)
            if not found:
                tally.missing.append((ts, pkt))
        if found:
            found.pop()
    for left in ours.values():
        for ts, pkt, slot in left:
            report.slots[slot].extra.append((ts, pkt))
    return report
