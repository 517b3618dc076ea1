#!/usr/bin/python3
"""latency.py - from exec to ready, and from Ctrl-C to the end, with few and with many sockets"""
import collections
import subprocess
import time

from common import apptap, bench, ratio, ROUNDS, spread, start, table, tcpdump, together, truth

FOREIGN = (0, 100000)


def measure(lab, make):
    """(ms to ready, ms to the end), with some traffic of the app between."""
    capture = make(lab).wait_ready()
    together(start(lab, "tcp_short", truth.APP_UID, "count=200"))
    capture.stop()
    return 1000 * capture.ready_s, 1000 * capture.stop_s


def main():
    ready, stop = collections.defaultdict(list), collections.defaultdict(list)
    rounds = max(ROUNDS, 5)
    modes = {"tcpdump -i any -w": tcpdump, "apptap": apptap}
    empty = []
    with bench("Ready after exec, end after Ctrl-C", rounds) as lab:
        for _ in range(rounds):
            before = time.monotonic()
            subprocess.run([*lab.inside("app"), "true"], check=True)
            empty.append(1000 * (time.monotonic() - before))
        print(f"  in it: {spread(empty, '{:.1f}')} ms to enter the namespace and start a program")
        for foreign in FOREIGN:
            if foreign:
                lab.hoard(foreign)
            for _ in range(rounds):
                for name, make in modes.items():
                    r, s = measure(lab, make)
                    ready[name, foreign].append(r)
                    stop[name, foreign].append(s)
        peer = "tcpdump -i any -w"
        table(("", "foreign sockets", "ready ms", "of tcpdump", "end ms", "of tcpdump"),
              [(name, f"{foreign:,}", spread(ready[name, foreign], "{:.1f}"),
                ratio(ready[name, foreign], ready[peer, foreign]),
                spread(stop[name, foreign], "{:.1f}"),
                ratio(stop[name, foreign], stop[peer, foreign]))
               for foreign in FOREIGN for name in modes])


main()
