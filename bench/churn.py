#!/usr/bin/python3
"""churn.py - what a capture costs programs that do nothing but open and close connections"""
import collections

from common import apptap, bench, ratio, ROUNDS, spread, start, table, tcpdump, together, truth

SECONDS = 2


def churn(lab, kind, make):
    """Flows/s of the app and of the bystander, both running at once."""
    programs = [start(lab, kind, uid, f"seconds={SECONDS}")
                for uid in (truth.APP_UID, truth.BYSTANDER_UID)]
    capture = make(lab).wait_ready() if make else None
    rates = [r["flows"] / r["seconds"] for r in together(*programs)]
    if capture:
        capture.stop()
    lab.clear()
    return rates


def main():
    modes = {"no capture": None, "tcpdump -i any -w": tcpdump, "apptap": apptap}
    app, other, both = (collections.defaultdict(list) for _ in range(3))
    kinds = {"churn_tcp": "TCP", "churn_udp": "UDP"}
    with bench("Connections per second, app and bystander at once") as lab:
        for _ in range(ROUNDS):
            for kind in kinds:
                for name, make in modes.items():
                    a, b = churn(lab, kind, make)
                    app[kind, name].append(a)
                    other[kind, name].append(b)
                    both[kind, name].append(a + b)
        table(("", "app flows/s", "bystander flows/s", "both", "of free"),
              [(f"{label}, {name}", spread(app[kind, name]), spread(other[kind, name]),
                spread(both[kind, name]), ratio(both[kind, name], both[kind, "no capture"]))
               for kind, label in kinds.items() for name in modes])


main()
