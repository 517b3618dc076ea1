#!/usr/bin/python3
"""memory.py - what a capture holds in memory beside its ring, second by second under churn"""
import os
import time

from common import apptap, bench, lab_module, MIB, start, table, tcpdump, truth

SECONDS = int(os.environ.get("BENCH_SECONDS", "12"))
STEP = 2


def resident(capture):
    """(bytes beside the ring, bytes of the ring) of the process and its children."""
    own = ring = 0
    for pid in lab_module.family(capture.proc.pid):
        try:
            with open(f"/proc/{pid}/smaps") as f:
                is_ring = False
                for line in f:
                    if line[0] in "0123456789abcdef":
                        is_ring = "socket:[" in line
                    elif line.startswith("Rss:"):
                        size = int(line.split()[1]) * 1024
                        own, ring = own + size * (not is_ring), ring + size * is_ring
        except OSError:
            continue
    return own, ring


def watch(lab, make):
    """The series of resident() while app and bystander make connections as fast as they can."""
    programs = [start(lab, kind, uid, f"seconds={SECONDS}") for kind in ("churn_tcp", "churn_udp")
                for uid in (truth.APP_UID, truth.BYSTANDER_UID)]
    capture = make(lab).wait_ready()
    series = [resident(capture)]
    for p in programs:
        p.say("go")
    for _ in range(SECONDS // STEP):
        time.sleep(STEP)
        series.append(resident(capture))
    for p in programs:
        p.line()
        p.finish()
    capture.stop()
    lab.clear()
    return series


def main():
    modes = {"tcpdump -i any -w": tcpdump, "apptap": apptap}
    with bench("Resident memory under churn of four programs", 1) as lab:
        rows = []
        for name, make in modes.items():
            series = watch(lab, make)
            rows.append((name, *(f"{own / MIB:.1f}" for own, _ in series),
                         f"{series[-1][1] / MIB:.0f}"))
        table(("MiB after s", *(str(i * STEP) for i in range(SECONDS // STEP + 1)), "the ring"),
              rows)


main()
