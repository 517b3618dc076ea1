#!/usr/bin/python3
"""flood.py - a bystander's 64-byte UDP flood: what captures cost it, and what they burn"""
import collections

from common import (apptap, bench, lab_module, ratio, ROUNDS, spread, start, table, tcpdump,
                    together, truth)

SECONDS = 3


def flood(lab, make):
    """(packets/s of the sender, CPU seconds of the capture)."""
    sender = start(lab, "flood", truth.BYSTANDER_UID, f"seconds={SECONDS}")
    capture = make(lab).wait_ready() if make else None
    before = capture.cpu_seconds() if capture else 0
    sent, = together(sender)
    cpu = capture.cpu_seconds() - before if capture else 0
    if capture:
        capture.stop()
    lab.clear()
    return sent["flows"] / sent["seconds"], cpu


def recall(lab):
    """The app's packets in the file while the flood runs; the reference sees the app alone."""
    reference = lab_module.Reference(lab, lab_module.ONLY_THE_APP)
    sender = start(lab, "flood", truth.BYSTANDER_UID, f"seconds={SECONDS}")
    app = [start(lab, "tcp_short", truth.APP_UID, "count=1500"),
           start(lab, "quic", truth.APP_UID, "count=3000")]
    capture = apptap(lab).wait_ready()
    together(sender, *app)
    capture.stop()
    reference.stop()
    ours = truth.to_pcap(capture.path, lab.file("ours.pcap"))
    report = truth.compare(reference.paths, ours)
    lab.clear()
    return report.total


def main():
    modes = {"no capture": None, "tcpdump -i any -w": tcpdump,
             "tcpdump -B 65536": lambda lab: tcpdump(lab, "-B", "65536"), "apptap": apptap}
    rates, cpus = collections.defaultdict(list), collections.defaultdict(list)
    with bench(f"A bystander floods for {SECONDS} s") as lab:
        for _ in range(ROUNDS):
            for name, make in modes.items():
                rate, cpu = flood(lab, make)
                rates[name].append(rate)
                cpus[name].append(cpu)
        rows = [(name, spread(rates[name]), ratio(rates[name], rates["no capture"]),
                 spread(cpus[name], "{:.2f}"), ratio(cpus[name], cpus["tcpdump -i any -w"]))
                for name in modes]
        table(("", "packets/s", "of free", "CPU s", "of tcpdump"), rows)
        total = recall(lab)
        print(f"  the app meanwhile: {total.got} of {total.expected} packets recorded "
              f"({total.recall:.3%}), {len(total.leaked)} of the bystander")


main()
