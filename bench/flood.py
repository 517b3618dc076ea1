#!/usr/bin/python3
"""flood.py - a bystander's 64-byte UDP flood: what captures cost it, and what they burn"""
import collections
import re
import subprocess

from common import (apptap, bench, flood_of, lab_module, ratio, ROUNDS, spread, start, table, tcpdump,
                    TIER, together, truth)

SECONDS = 3


class Rules:
    """The rules of the tier nflog as they are while it captures, and nobody who listens."""

    def __init__(self, lab):
        self.lab = lab
        capture = apptap(lab).wait_ready()
        text = self.nft("list", "ruleset")
        capture.stop()
        self.name = re.search(r"table inet (apptap_\w+)", text)[1]
        self.nft("-f", "-", stdin=re.sub(r"flags owner.*", "", text).replace("# progname apptap", ""))

    def nft(self, *args, stdin=None):
        return subprocess.run([*self.lab.inside("app"), "nft", *args], input=stdin, text=True,
                              capture_output=True, check=True).stdout

    def wait_ready(self):
        return self

    def cpu_seconds(self):
        return 0

    def stop(self):
        self.nft("delete", "table", "inet", self.name)


def flood(lab, make):
    """(packets/s of the sender, its CPU ns a packet, CPU seconds of the capture)."""
    sender = start(lab, "flood", truth.BYSTANDER_UID, f"seconds={SECONDS}")
    capture = make(lab).wait_ready() if make else None
    before = capture.cpu_seconds() if capture else 0
    (sent,), took = flood_of([sender])
    cpu = capture.cpu_seconds() - before if capture else 0
    if capture:
        capture.stop()
    lab.clear()
    return sent["flows"] / sent["seconds"], took / sent["flows"] * 1e9, cpu


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
    if TIER == "nflog":
        modes["its rules, nobody listens"] = Rules
    rates, costs, cpus = (collections.defaultdict(list) for _ in range(3))
    with bench(f"A bystander floods for {SECONDS} s") as lab:
        for _ in range(ROUNDS):
            for name, make in modes.items():
                rate, cost, cpu = flood(lab, make)
                rates[name].append(rate)
                costs[name].append(cost)
                cpus[name].append(cpu)
        rows = [(name, spread(rates[name]), ratio(rates[name], rates["no capture"]),
                 spread(costs[name]), ratio(costs[name], costs["no capture"]),
                 spread(cpus[name], "{:.2f}"), ratio(cpus[name], cpus["tcpdump -i any -w"]))
                for name in modes]
        table(("", "packets/s", "of free", "its CPU ns", "of free", "CPU s", "of tcpdump"), rows)
        total = recall(lab)
        print(f"  the app meanwhile: {total.got} of {total.expected} packets recorded "
              f"({total.recall:.3%}), {len(total.leaked)} of the bystander")


main()
