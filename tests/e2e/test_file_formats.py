"""test_file_formats.py - files of each kind, read back by tshark, capinfos, tcpdump and scapy"""
import contextlib
import decimal
import os
import select
import shutil
import struct
import subprocess

import pytest

from pace import WAIT

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("APPTAP_BUILD", os.path.join(REPO, "build"))
SINKDRIVE = os.path.join(BUILD, "tests", "e2e", "sinkdrive")
KINDS = ["pcap", "nano", "pcapng"]
TO_HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)
INBOUND, OUTBOUND = 1, 2
UNSPECIFIED, TO_UNICAST, TO_MULTICAST, TO_BROADCAST, PROMISCUOUS = range(5)
RECEPTION = {TO_HOST: TO_UNICAST, BROADCAST: TO_BROADCAST, MULTICAST: TO_MULTICAST,
             OTHERHOST: PROMISCUOUS, OUTGOING: UNSPECIFIED}
COMMENT = "app org.example.app, UID 10123, tier sockdiag\nthe second line \u00e4\u20ac"
T0 = 1700000001_000000000


def udp4(payload, src="10.0.0.1", dst="10.0.0.2"):
    """An IPv4 UDP packet whose checksums tshark has no word against (none in UDP, right in IP)."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 7, 0, 64, 17, 0,
                       bytes(map(int, src.split("."))), bytes(map(int, dst.split("."))))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xffff) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + head[12:]
    return head + struct.pack("!HHHH", 40000, 40001, 8 + len(payload), 0) + payload


def icmp6(payload):
    return (struct.pack("!IHBB", 6 << 28, 8 + len(payload), 58, 64) + bytes(15) + b"\1" + bytes(15)
            + b"\1" + struct.pack("!BBHHH", 128, 0, 0, 1, 2) + payload)


class Packet:
    def __init__(self, data, ns=0, ifindex=2, protocol=0x0800, arphrd=1, pkttype=OUTGOING,
                 haddr="020000000001", tpid=0, tci=0, wire_len=None):
        self.data, self.ns, self.ifindex, self.protocol = data, T0 + ns, ifindex, protocol
        self.arphrd, self.pkttype, self.haddr = arphrd, pkttype, bytes.fromhex(haddr)
        self.tpid, self.tci, self.wire_len = tpid, tci, wire_len or len(data)

    def line(self):
        return (f"packet {self.ns} {self.ifindex} {self.protocol} {self.arphrd} {self.pkttype} "
                f"{len(self.haddr)} {self.haddr.hex() or '-'} {self.tpid} {self.tci} "
                f"{self.wire_len} {self.data.hex() or '-'}")

    def front(self):
        """What LINKTYPE_LINUX_SLL2 puts before the bytes, by its specification."""
        tag = struct.pack("!HH", self.tci, self.protocol) if self.tpid else b""
        return struct.pack("!HHiHBB", self.tpid or self.protocol, 0, self.ifindex, self.arphrd,
                           self.pkttype, len(self.haddr)) + self.haddr.ljust(8, b"\0") + tag

    def time(self, kind):
        ns = self.ns - self.ns % 1000 if kind == "pcap" else self.ns
        return decimal.Decimal(ns) / 10**9


NAMES = {2: b"eth0", 3: b"wl\x1b[2J\xff", 4: "b\u00fcro0".encode(), 5: b"fifteen-bytes-x", 1: b"lo"}
SHOWN = {2: "eth0", 3: r"wl\x1b[2J\xff", 4: "b\u00fcro0", 5: "fifteen-bytes-x", 1: "lo"}
PACKETS = [
    Packet(udp4(b"hello"), 987654321),
    Packet(udp4(b"x"), 987654322, 3, pkttype=TO_HOST, haddr="02aabbccddee"),
    Packet(udp4(b"", dst="239.1.2.3"), 1000000000, 4, pkttype=MULTICAST),
    Packet(udp4(b"ab", dst="255.255.255.255"), 1000000999, 4, pkttype=BROADCAST),
    Packet(udp4(b"abc"), 1000001000, 4, pkttype=OTHERHOST),
    Packet(icmp6(b"ping"), 1999999999, 1, 0x86dd, 772, TO_HOST, "000000000000"),
    Packet(udp4(b"tag"), 2000000001, 2, tpid=0x8100, tci=0x6065),
    Packet(icmp6(b"service tag"), 2000000002, 2, 0x86dd, tpid=0x88a8, tci=0x0fff),
    Packet(udp4(bytes(1000))[:60], 2000000003, 2, wire_len=1028),
    Packet(udp4(bytes(1000))[:60], 2000000003, 2, wire_len=1028, tpid=0x8100, tci=1),
    Packet(udp4(bytes(range(256)) * 255), 2000000004, 5, pkttype=TO_HOST),
    Packet(udp4(b"tun"), 3000000000, 77, arphrd=65534, haddr=""),
] + [Packet(udp4(bytes(n)), 4000000000 + n, 2) for n in (980, 995, 996, 997, 998, 1023, 1400)]


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")


def opening(comment=COMMENT, snaplen=0):
    if not os.access(SINKDRIVE, os.X_OK):
        pytest.fail("tests/e2e/sinkdrive is not built: ./dev build")
    return [f"name {i} {name.hex()}" for i, name in NAMES.items()] + [
        f"open {snaplen} {comment.encode().hex() or '-'} {b'apptap 0.1.0'.hex()}"]


def write_file(path, kind, packets, comment=COMMENT, snaplen=0, finish="finish 4321 17"):
    lines = opening(comment, snaplen) + [p.line() for p in packets] + [finish, ""]
    done = subprocess.run([SINKDRIVE, kind, path], input="\n".join(lines), text=True,
                          capture_output=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"records {len(packets)} bytes {os.path.getsize(path)}\n"
    return path


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def file(kind, tmp_path):
    return write_file(str(tmp_path / f"x.{kind}"), kind, PACKETS)


def run(*argv):
    done = subprocess.run(argv, capture_output=True, timeout=WAIT,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def fields(path, *names, extra=()):
    """A dict for every packet: tshark's value of each field, None where it has none."""
    out = run("tshark", "-n", "-r", path, *extra, "-T", "fields", "-E", "occurrence=a", "-E",
              "separator=/t", *[a for n in names for a in ("-e", n)])
    return [dict(zip(names, (v or None for v in row.split("\t")))) for row in out.splitlines()]


def test_tshark_sees_lengths_times_and_link_layer(file, kind):
    need("tshark")
    rows = fields(file, "frame.time_epoch", "frame.len", "frame.cap_len", "sll.ifindex",
                  "sll.hatype", "sll.pkttype", "sll.halen", "sll.src.eth", "sll.etype")
    assert len(rows) == len(PACKETS)
    for row, p in zip(rows, PACKETS):
        front = len(p.front())
        assert decimal.Decimal(row["frame.time_epoch"]) == p.time(kind)
        assert int(row["frame.len"]) == front + p.wire_len
        assert int(row["frame.cap_len"]) == front + len(p.data)
        assert int(row["sll.ifindex"]) == p.ifindex
        assert int(row["sll.hatype"]) == p.arphrd
        assert int(row["sll.pkttype"]) == p.pkttype
        assert int(row["sll.halen"]) == len(p.haddr)
        assert int(row["sll.etype"], 0) == (p.tpid or p.protocol)
        if p.arphrd == 1:
            assert row["sll.src.eth"].replace(":", "") == p.haddr.hex()


def test_tshark_sees_tags_and_payload(file):
    need("tshark")
    rows = fields(file, "vlan.id", "vlan.priority", "ieee8021ad.id", "udp.dstport", "icmpv6.type",
                  "ip.src", "_ws.malformed", "ip.checksum.status")
    for row, p in zip(rows, PACKETS):
        seen = row["vlan.id"] if p.tpid == 0x8100 else row["ieee8021ad.id"]
        assert seen == (str(p.tci & 0xfff) if p.tpid else None)
        if p.tpid == 0x8100:
            assert int(row["vlan.priority"]) == p.tci >> 13
        if p.protocol == 0x0800:
            assert (row["ip.src"], row["udp.dstport"]) == ("10.0.0.1", "40001")
        else:
            assert row["icmpv6.type"] == "128"
        assert row["_ws.malformed"] is None


def test_tshark_sees_interfaces_and_direction(tmp_path):
    need("tshark")
    path = write_file(str(tmp_path / "x.pcapng"), "pcapng", PACKETS)
    rows = fields(path, "frame.interface_id", "frame.interface_name", "frame.interface_description",
                  "frame.packet_flags_direction", "frame.packet_flags_reception_type")
    order = list(dict.fromkeys(p.ifindex for p in PACKETS))
    for row, p in zip(rows, PACKETS):
        assert int(row["frame.interface_id"]) == order.index(p.ifindex)
        if p.ifindex in SHOWN:
            assert row["frame.interface_name"] == SHOWN[p.ifindex]
        else:
            assert row["frame.interface_description"] == f"interface index {p.ifindex}"
        outgoing = p.pkttype == OUTGOING
        assert int(row["frame.packet_flags_direction"], 0) == (OUTBOUND if outgoing else INBOUND)
        assert int(row["frame.packet_flags_reception_type"], 0) == RECEPTION[p.pkttype]


def statistics_blocks(path):
    """tshark's view of the file's own structure: its statistics blocks, as dicts of their lines."""
    text = run("tshark", "-r", path, "-X", "read_format:MIME Files Format", "-V")
    blocks = []
    for line in text.splitlines():
        if line.startswith("    Block: "):
            blocks.append((line.strip(), {}))
        elif blocks and ": " in line:
            key, _, value = line.strip().partition(": ")
            blocks[-1][1][key] = value
    return [b for name, b in blocks if name.startswith("Block: Interface Statistics")]


def test_a_packet_says_whose_it_is(tmp_path):
    """As a comment that tshark finds; a command's name is its own choice, and moves no cursor."""
    path, none = str(tmp_path / "x.pcapng"), 2**32 - 1
    whose = [(1000, 4242, b"curl"), (1000, 4242, b"curl"), (33, 0, b""), (none, 0, b""),
             (none, 7, b"a\nb\x1b[1m\xff\t"), (0, 2**31 - 1, "\u65e5\u672c\u8a9e\u8a9e\u8a9e".encode()),
             (1, 64 * 2 + 1, b"same slot"), (1, 64 * 4 + 1, b"same slot"), (5, 6, b"exactly-16-bytes")]
    lines = ["whose 0 0 -"] + opening()
    for i, (uid, pid, comm) in enumerate(whose):
        lines += [f"whose {uid} {pid} {comm.hex() or '-'}", Packet(udp4(bytes(990 + i)), i).line()]
    done = subprocess.run([SINKDRIVE, "pcapng", path], input="\n".join(lines + ["finish 9 0", ""]),
                          text=True, capture_output=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    need("tshark", "capinfos")
    run("capinfos", path)
    assert [row["frame.comment"] for row in fields(path, "frame.comment")] == [
        "uid 1000 pid 4242 curl", "uid 1000 pid 4242 curl", "uid 33", None, "pid 7 a?b?[1m??",
        "uid 0 pid 2147483647 \u65e5\u672c\u8a9e\u8a9e\u8a9e", "uid 1 pid 129 same slot",
        "uid 1 pid 257 same slot", "uid 5 pid 6 exactly-16-bytes"]
    found = fields(path, "frame.number", extra=["-Y", 'frame.comment contains "curl"'])
    assert [row["frame.number"] for row in found] == ["1", "2"]


def test_drop_statistics(tmp_path):
    need("tshark")
    path = write_file(str(tmp_path / "x.pcapng"), "pcapng", PACKETS)
    order = list(dict.fromkeys(p.ifindex for p in PACKETS))
    blocks = statistics_blocks(path)
    assert [int(b["Interface"]) for b in blocks] == list(range(len(order)))
    for b, ifindex in zip(blocks, order):
        assert (int(b["Number of Accepted by Filter Packets"])
                == sum(p.ifindex == ifindex for p in PACKETS))
    assert blocks[0]["Number of Received Packets"] == "4321"
    assert blocks[0]["Number of Dropped Packets"] == "17"
    assert "all interfaces together" in blocks[0]["Comment"]
    assert not any("Number of Dropped Packets" in b for b in blocks[1:])


def test_capinfos(file, kind):
    need("capinfos")
    text = run("capinfos", file)
    assert "Linux cooked-mode capture v2" in text
    assert f"Number of packets:   {len(PACKETS)}\n" in text
    assert ("microseconds (6)" if kind == "pcap" else "nanoseconds (9)") in text
    # The time of the last packet written is the greatest.
    last = str(PACKETS[-1].time(kind)).split(".")[1].ljust(6 if kind == "pcap" else 9, "0")
    assert f"Last packet time:    2023-11-14 22:13:25.{last}\n" in text
    if kind != "pcapng":
        return
    assert "Capture application: apptap 0.1.0\n" in text
    assert "Capture oper-sys:    Linux " in text
    assert all(line in text for line in COMMENT.splitlines())
    assert "\x1b" not in text
    for name in SHOWN.values():
        assert f"Name = {name}\n" in text
    assert text.count("Number of stat entries = 1") == len(SHOWN) + 1
    assert text.count("Time precision = nanoseconds (9)") == len(SHOWN) + 1


def test_libpcap(file):
    need("tcpdump")
    lines = run("tcpdump", "-nn", "-tt", "--nano", "-e", "-r", file).splitlines()
    lines = [line for line in lines if not line.startswith((" ", "\t"))]
    assert len(lines) == len(PACKETS)
    assert sum("vlan 101, p 3" in line for line in lines) == 1


def test_scapy(file, kind):
    utils = pytest.importorskip("scapy.utils")
    reader = utils.RawPcapNgReader if kind == "pcapng" else utils.RawPcapReader
    with contextlib.closing(reader(file)) as records:
        records = list(records)
    assert len(records) == len(PACKETS)
    for (data, meta), p in zip(records, PACKETS):
        assert data == p.front() + p.data
        assert meta.wirelen == len(p.front()) + p.wire_len
        if kind == "pcapng":
            assert meta.linktype == 276
            assert meta.tsresol == 10**9
            assert (meta.tshigh << 32 | meta.tslow) == p.ns
        else:
            ticks = p.ns // 1000 % 10**6 if kind == "pcap" else p.ns % 10**9
            assert (meta.sec, meta.usec) == (p.ns // 10**9, ticks)


def test_scapy_dissects(file, kind):
    utils = pytest.importorskip("scapy.utils")
    layers = pytest.importorskip("scapy.layers.all")
    with (utils.PcapNgReader if kind == "pcapng" else utils.PcapReader)(file) as reader:
        packets = list(reader)
    for seen, p in zip(packets, PACKETS):
        # scapy keeps a pcapng's time as a float.
        assert abs(decimal.Decimal(str(seen.time)) - p.time(kind)) < decimal.Decimal("0.000001")
        if p.protocol == 0x0800 and not p.tpid:
            assert seen[layers.UDP].dport == 40001
        if p.tpid == 0x8100:
            assert seen[layers.Dot1Q].vlan == p.tci & 0xfff


def test_snaplen(kind, tmp_path):
    need("tshark", "capinfos")
    path = write_file(str(tmp_path / "x"), kind, PACKETS, snaplen=96)
    rows = fields(path, "frame.len", "frame.cap_len")
    for row, p in zip(rows, PACKETS):
        assert int(row["frame.len"]) == len(p.front()) + p.wire_len
        assert int(row["frame.cap_len"]) == len(p.front()) + min(96, len(p.data))
    assert "Capture length = 120\n" in run("capinfos", path)


def test_nothing_captured(kind, tmp_path):
    need("tshark", "capinfos", "tcpdump")
    path = write_file(str(tmp_path / "x"), kind, [])
    assert run("tcpdump", "-nn", "-r", path) == ""
    assert fields(path, "frame.len") == []
    assert "Number of packets:   0\n" in run("capinfos", path)
    if kind == "pcapng":
        assert [b["Number of Dropped Packets"] for b in statistics_blocks(path)] == ["17"]


def test_unfinished_file_is_readable(kind, tmp_path):
    """A capture that was killed: all that was flushed is there, only the statistics are not."""
    need("tshark")
    path = write_file(str(tmp_path / "x"), kind, PACKETS[:5], finish="flush")
    assert len(fields(path, "frame.len")) == 5


def test_live(kind):
    """What was flushed is on the reader's screen while the capture still runs."""
    need("tshark")
    r, w = os.pipe()
    tshark = subprocess.Popen(["tshark", "-n", "-l", "-i", "-", "-T", "fields", "-e", "frame.len"],
                              stdin=r, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    drive = subprocess.Popen([SINKDRIVE, kind, f"/dev/fd/{w}"], pass_fds=[w], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    os.close(r)
    os.close(w)
    try:
        drive.stdin.write("\n".join(opening() + [""]))
        for p in PACKETS[:3]:
            drive.stdin.write(p.line() + "\n")
            drive.stdin.flush()
            assert select.select([tshark.stdout], [], [], 30)[0], "nothing shown in 30 s"
            assert int(tshark.stdout.readline()) == len(p.front()) + p.wire_len
        drive.stdin.write("finish 3 0\n")
        drive.stdin.close()
        assert drive.wait(WAIT) == 0
        assert tshark.stdout.read() == b""
        assert tshark.wait(WAIT) == 0
    finally:
        for process in (drive, tshark):
            process.kill()
            process.wait()
            process.stdout and process.stdout.close()
