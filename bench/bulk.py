#!/usr/bin/python3
"""bulk.py - a download by the app: how much of it is in the file, for how much CPU

Into a file on tmpfs, whose memory was used a moment ago; and on a disk, in whatever memory there is.
"""
import collections
import os
import struct
import time

from common import apptap, bench, MIB, on_tmpfs, ratio, ROUNDS, spread, start, table, tcpdump, together, \
    truth, warm

SIZE = int(float(os.environ.get("BENCH_GB", "2")) * 1e9)
DISK = os.environ.get("BENCH_DISK", "/var/tmp")


def payload_bytes(path):
    """TCP payload that the app received, summed over a pcap; reads the headers only."""
    total = 0
    with open(path, "rb") as f:
        head = f.read(24)
        order = "<" if head[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        record = struct.Struct(order + "IIII")
        while len(raw := f.read(16)) == 16:
            _, _, caplen, _ = record.unpack(raw)
            pkt = f.read(min(caplen, 160))[20:]
            f.seek(max(0, caplen - 160), os.SEEK_CUR)
            if len(pkt) < 40 or pkt[0] >> 4 != 4 or pkt[9] != truth.TCP:
                continue
            ihl = (pkt[0] & 15) * 4
            if truth.PORTS(pkt, ihl)[0] == 7003:
                total += caplen - 20 - ihl - (pkt[ihl + 12] >> 4) * 4
    return total


def download(lab, make):
    """(share recorded, CPU seconds, Gbit/s of the download)."""
    if on_tmpfs(lab):
        warm(lab, SIZE * 3 // 2)
    app = start(lab, "bulk_down", truth.APP_UID, f"size={SIZE}", "count=1")
    capture = make(lab).wait_ready() if make else None
    before = capture.cpu_seconds() if capture else 0
    got, = together(app)
    share = cpu = 0
    if capture:
        cpu = capture.cpu_seconds() - before
        capture.stop()
        share = payload_bytes(capture.path) / SIZE
    lab.clear()
    return share, cpu, got["bytes"] * 8 / got["seconds"] / 1e9


def floor(lab):
    """CPU seconds a GB of a program that does nothing but write such a file, a MiB at a time."""
    if on_tmpfs(lab):
        warm(lab, SIZE)
    chunk, path = bytes(MIB), lab.file("floor")
    with open(path, "wb", buffering=0) as f:
        before = time.process_time()
        for _ in range(SIZE // MIB):
            f.write(chunk)
        cpu = time.process_time() - before
    os.unlink(path)
    return cpu / (SIZE / 1e9)


def compare(folder):
    if folder:
        os.environ["APPTAP_LAB_FOLDER"] = folder
    modes = {
        "no capture": None,
        "tcpdump -i any -w": tcpdump,
        "tcpdump -B 65536": lambda lab: tcpdump(lab, "-B", "65536"),
        "apptap": lambda lab: apptap(lab, name="out.pcap"),
    }
    shares, cpus, speeds = (collections.defaultdict(list) for _ in range(3))
    floors = []
    with bench(f"The app downloads {SIZE / 1e9:g} GB over veth") as lab:
        for _ in range(ROUNDS):
            for name, make in modes.items():
                share, cpu, speed = download(lab, make)
                shares[name].append(100 * share)
                cpus[name].append(cpu / (share * SIZE / 1e9) if share else 0)
                speeds[name].append(speed)
            floors.append(floor(lab))
        peer = cpus["tcpdump -i any -w"]
        rows = [(name, spread(shares[name], "{:.1f}") if make else "-",
                 spread(cpus[name], "{:.2f}") if make else "-",
                 ratio(cpus[name], peer) if make else "-", spread(speeds[name], "{:.1f}"))
                for name, make in modes.items()]
        rows.append(("writing alone", "-", spread(floors, "{:.2f}"), ratio(floors, peer), "-"))
        table(("", "% recorded", "CPU s/GB recorded", "of tcpdump", "Gbit/s"), rows)


def main():
    for folder in (None, DISK):
        compare(folder)


main()
