#!/usr/bin/python3
"""appflood.py - the app itself floods with 64-byte UDP: how much of it is recorded

To the far end, which is on this machine too and takes a third of the CPU time; and out of an ifb device that
drops what it is given: then only the sender and the capture are here, as where the far end is another machine.
"""
import collections
import subprocess

from common import apptap, bench, flood_of, ROUNDS, spread, start, table, tcpdump, truth

SECONDS = 3
AWAY = """link add away type ifb
link set away up
route add 10.77.0.2/32 dev away src 10.77.0.1
"""


def flood(lab, senders, make):
    """(packets/s of the app, share recorded, packets missing, CPU ns a packet of the app and of the capture)."""
    programs = [start(lab, "flood", truth.APP_UID, f"seconds={SECONDS}") for _ in range(senders)]
    capture = make(lab).wait_ready() if make else None
    before = capture.cpu_seconds() if capture else 0
    answers, took = flood_of(programs)
    sent = sum(a["flows"] - a["failed"] for a in answers)
    cpu = capture.cpu_seconds() - before if capture else 0
    found = sent
    if capture:
        capture.stop()
        found = sum(1 for _, p in truth.packets(truth.to_pcap(capture.path, lab.file("all.pcap")))
                    if p and truth.upper(p)[0] == truth.UDP)
    lab.clear()
    return (sent / answers[0]["seconds"], 100 * found / sent, sent - found, took / sent * 1e9,
            cpu / sent * 1e9)


def main():
    modes = {"no capture": None, "tcpdump -B 65536": lambda lab: tcpdump(lab, "-B", "65536"),
             "apptap": lambda lab: apptap(lab, name="out.pcap")}
    for senders, away in ((1, False), (2, False), (2, True)):
        values = {name: collections.defaultdict(list) for name in modes}
        to = "out of an ifb device" if away else "to the far end"
        with bench(f"The app floods for {SECONDS} s by {senders} programs, {to}") as lab:
            if away:
                subprocess.run([*lab.inside("app"), "ip", "-batch", "-"], input=AWAY, text=True, check=True)
            for _ in range(ROUNDS):
                for name, make in modes.items():
                    for i, value in enumerate(flood(lab, senders, make)):
                        values[name][i].append(value)
            table(("", "packets/s", "% recorded", "missing", "app's CPU ns", "capture's"),
                  [(name, spread(v[0]), spread(v[1], "{:.2f}") if make else "-",
                    spread(v[2]) if make else "-", spread(v[3]), spread(v[4]) if make else "-")
                   for (name, make), v in zip(modes.items(), values.values())])


main()
