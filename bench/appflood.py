#!/usr/bin/python3
"""appflood.py - the app itself floods with 64-byte UDP: how much of it is recorded"""
import collections

from common import apptap, bench, ROUNDS, spread, start, table, tcpdump, together, truth

SECONDS = 3


def flood(lab, make):
    """(packets/s of the app, share recorded, CPU seconds of the capture)."""
    sender = start(lab, "flood", truth.APP_UID, f"seconds={SECONDS}")
    capture = make(lab).wait_ready() if make else None
    before = capture.cpu_seconds() if capture else 0
    sent, = together(sender)
    cpu = capture.cpu_seconds() - before if capture else 0
    share = 0
    if capture:
        capture.stop()
        found = sum(1 for _, p in truth.packets(truth.to_pcap(capture.path, lab.file("all.pcap")))
                    if p and truth.upper(p)[0] == truth.UDP)
        share = found / sent["flows"]
    lab.clear()
    return sent["flows"] / sent["seconds"], share, cpu


def main():
    modes = {"no capture": None, "tcpdump -B 65536": lambda lab: tcpdump(lab, "-B", "65536"),
             "apptap": lambda lab: apptap(lab, name="out.pcap")}
    rates, shares, cpus = (collections.defaultdict(list) for _ in range(3))
    with bench(f"The app floods for {SECONDS} s") as lab:
        for _ in range(ROUNDS):
            for name, make in modes.items():
                rate, share, cpu = flood(lab, make)
                rates[name].append(rate)
                shares[name].append(100 * share)
                cpus[name].append(cpu)
        table(("", "packets/s", "% recorded", "CPU s"),
              [(name, spread(rates[name]), spread(shares[name], "{:.2f}") if make else "-",
                spread(cpus[name], "{:.2f}") if make else "-") for name, make in modes.items()])


main()
