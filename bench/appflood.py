#!/usr/bin/python3
"""appflood.py - the app itself floods with 64-byte UDP: how much of it is recorded"""
import collections

import os

from common import apptap, bench, flood_of, ROUNDS, spread, start, table, tcpdump, truth

SECONDS = 3
SENDERS = int(os.environ.get("BENCH_SENDERS", "1"))


def flood(lab, make):
    """(packets/s of the app, share recorded, CPU ns a packet of the app and of the capture)."""
    senders = [start(lab, "flood", truth.APP_UID, f"seconds={SECONDS}") for _ in range(SENDERS)]
    capture = make(lab).wait_ready() if make else None
    before = capture.cpu_seconds() if capture else 0
    answers, took = flood_of(senders)
    sent = sum(a["flows"] for a in answers)
    cpu = capture.cpu_seconds() - before if capture else 0
    share = 0
    if capture:
        capture.stop()
        found = sum(1 for _, p in truth.packets(truth.to_pcap(capture.path, lab.file("all.pcap")))
                    if p and truth.upper(p)[0] == truth.UDP)
        share = found / sent
    lab.clear()
    return sent / answers[0]["seconds"], share, took / sent * 1e9, cpu / sent * 1e9


def main():
    modes = {"no capture": None, "tcpdump -B 65536": lambda lab: tcpdump(lab, "-B", "65536"),
             "apptap": lambda lab: apptap(lab, name="out.pcap")}
    rates, shares, costs, cpus = (collections.defaultdict(list) for _ in range(4))
    with bench(f"The app floods for {SECONDS} s by {SENDERS} programs") as lab:
        for _ in range(ROUNDS):
            for name, make in modes.items():
                rate, share, cost, cpu = flood(lab, make)
                rates[name].append(rate)
                costs[name].append(cost)
                shares[name].append(100 * share)
                cpus[name].append(cpu)
        table(("", "packets/s", "% recorded", "app's CPU ns", "capture's"),
              [(name, spread(rates[name]), spread(shares[name], "{:.2f}") if make else "-",
                spread(costs[name]), spread(cpus[name]) if make else "-") for name, make in modes.items()])


main()
