#!/usr/bin/python3
"""cost.py - what the programs of the tier bpf add to a bystander's 64-byte UDP packet, in ns

Rates of whole runs differ by more than what is to be measured. So one program sends all the time, and
counts its own CPU time by what is attached while it does: nothing or an empty program, by turns of
some milliseconds; then, beside a capture, the capture's own link with its program, or with the empty
one put in its place. What else the machine does hits all alike. The far end is on the same machine,
so a packet's whole way counts.
"""
import glob
import mmap
import os
import socket
import statistics
import struct
import sys
import time

from common import apptap, bench, E2E, lab_module, ROUNDS, spread, table, truth

sys.path.insert(0, E2E)
import tcx  # noqa: E402

SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
WINDOW, SETTLE = 0.006, 0.0004
LINK_UPDATE, LINK_GET_FD_BY_ID, PROG_GET_FD_BY_ID = 29, 30, 13
CLONE_NEWNET = 0x40000000
IDLE_PORT = 7009
BATCH = 32
# Sends until it is killed; its shared page says what is attached (byte 0), 255: that is changing.
SENDER = f"""
import mmap, os, socket, struct, sys, time
page = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)
out = open(sys.argv[2], "wb", buffering=0)
os.setuid({truth.BYSTANDER_UID})
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[3], {IDLE_PORT}))
send, data, now = s.send, bytes(64), time.thread_time_ns
while True:
    mode = page[0]
    start = now()
    for _ in range({BATCH}):
        try:
            send(data)
        except OSError:
            pass
    took = now() - start
    if mode != 255 and page[0] == mode:
        out.write(struct.pack("=BI", mode, took // {BATCH}))
"""


class Sender:
    def __init__(self, lab, role, address):
        self.log, page = lab.file("times"), lab.file("page")
        with open(page, "wb") as f:
            f.write(b"\xff" * 4096)
        self.page = mmap.mmap(os.open(page, os.O_RDWR), 4096)
        self.program = lab.program(role, sys.executable, "-c", SENDER, page, self.log, address)

    def say(self, mode):
        self.page[0] = mode

    def window(self, mode):
        time.sleep(SETTLE)
        self.say(mode)
        time.sleep(WINDOW)
        self.say(255)

    def times(self):
        """Mode to the ns of its batches; those that were interrupted are left out."""
        with open(self.log, "rb") as f:
            found = list(struct.iter_unpack("=BI", f.read()))
        self.program.kill()
        modes = {m: sorted(t for n, t in found if n == m) for m in {n for n, _ in found}}
        return {m: times[:len(times) * 3 // 4] for m, times in modes.items()}


def none_or_empty(lab, role, address, side, ifindex):
    """ns that an empty program adds, and what a packet costs without."""
    sender, program = Sender(lab, role, address), tcx.nothing()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        sender.window(0)
        link = tcx.attach(program, ifindex, side)
        sender.window(1)
        os.close(link)
    times = sender.times()
    free = statistics.mean(times[0])
    return statistics.mean(times[1]) - free, free


def of_capture(tool, ifindex, side):
    """The capture's link there, and its program: descriptors of ours."""
    for path in (p for pid in lab_module.family(tool.proc.pid) for p in glob.glob(f"/proc/{pid}/fdinfo/*")):
        try:
            with open(path, encoding="ascii") as f:
                facts = {k: v.split()[0] for k, v in (line.split(":", 1) for line in f if ":" in line)
                         if v.strip()}
        except OSError:
            continue
        if [facts.get(k) for k in ("link_type", "ifindex", "attach_type")] == [
                "tcx", str(ifindex), str(side)]:
            return (tcx.bpf(LINK_GET_FD_BY_ID, "=I", int(facts["link_id"])),
                    tcx.bpf(PROG_GET_FD_BY_ID, "=I", int(facts["prog_id"])))
    raise RuntimeError("the capture has no link there")


def empty_or_ours(lab, role, address, side, ifindex):
    """ns that our program adds to those of an empty one, and the CPU seconds of the agent."""
    tool = apptap(lab).wait_ready()
    link, ours = of_capture(tool, ifindex, side)
    sender, empty = Sender(lab, role, address), tcx.nothing()
    before, end = tool.cpu_seconds(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        for mode, program in enumerate((empty, ours)):
            tcx.bpf(LINK_UPDATE, "=III", link, program, 0)
            sender.window(mode)
    times, cpu = sender.times(), tool.cpu_seconds() - before
    os.close(link)
    tool.stop()
    return statistics.mean(times[1]) - statistics.mean(times[0]), cpu


def main():
    with bench(f"A bystander's packet, for {SECONDS:g} s each") as lab:
        netns = os.open(f"/run/netns/{lab.names['app']}", os.O_RDONLY)
        if tcx.LIBC.setns(netns, CLONE_NEWNET) < 0:
            sys.exit("cannot enter the network namespace")
        ifindex, rows = socket.if_nametoindex("veth0"), []
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("10.77.0.1", IDLE_PORT))
        ways = {"it sends": ("app", "10.77.0.2", tcx.EGRESS), "it receives": ("srv", "10.77.0.1", tcx.INGRESS)}
        for name, (role, address, side) in ways.items():
            both = [(none_or_empty(lab, role, address, side, ifindex),
                     empty_or_ours(lab, role, address, side, ifindex)) for _ in range(ROUNDS)]
            (empty, free), (ours, cpu) = zip(*(a for a, _ in both)), zip(*(b for _, b in both))
            share = [f / (f + e + o) for f, e, o in zip(free, empty, ours)]
            rows.append((name, *(spread(v) for v in (free, empty, ours)), spread(share, "{:.3f}"),
                         spread(cpu, "{:.2f}")))
        table(("", "free, ns", "an empty program", "ours beyond it", "of the rate", "agent's CPU s"), rows)


main()
