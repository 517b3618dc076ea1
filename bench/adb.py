#!/usr/bin/python3
"""adb.py - over adb to the stand-in phone: how soon it is ready and at its end, how fast bytes come"""
import os
import statistics
import sys
import time

from common import ROUNDS

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
import lab as lab_module  # noqa: E402
import phone as phone_module  # noqa: E402
import truth  # noqa: E402
from test_adb_exact import PhoneLab  # noqa: E402

TIERS = os.environ.get("BENCH_TIERS", "bpf,sockdiag,nflog").split(",")
SIZE = int(float(os.environ.get("BENCH_GB", "2")) * 1e9)


def spread(values, unit):
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f}-{max(values):.2f})"


def ready_and_stop(lab, tier, *options):
    ready, stop = [], []
    for _ in range(ROUNDS + 2):
        capture = lab.apptap(*options, tier=tier).wait_ready()
        ready.append(capture.ready_s)
        capture.stop()
        stop.append(capture.stop_s)
        lab.clear()
    return ready, stop


def throughput(lab, tier):
    """MB/s of the capture file while the app downloads as fast as it can; what was lost on the way."""
    workload = lab_module.BY_NAME["bulk_down"]
    lo = 20000 + workload.slot * truth.SLOT
    app = lab.traffic("app", "bulk_down", f"uid={truth.APP_UID}", "count=1", f"size={SIZE}",
                      f"ports={lo}-{lo + 99}")
    app.line()
    capture = lab.apptap(name="out.pcap", tier=tier).wait_ready()
    start = time.monotonic()
    app.say("go")
    app.line(120)
    took_app = time.monotonic() - start
    capture.stop(60)
    took = time.monotonic() - start
    size = os.path.getsize(capture.path)
    counters = capture.json()["counters"]
    lab.clear()
    return size / took / 1e6, SIZE / took_app / 1e6, counters


def main():
    reason = lab_module.why_not() or phone_module.why_not()
    if reason:
        print(f"skipped: {reason}")
        return
    with PhoneLab() as lab:
        for tier in TIERS:
            ready, stop = ready_and_stop(lab, tier)
            print(f"{tier}: ready, agent pushed      {spread(ready, 's')}")
            print(f"{tier}: end after Ctrl-C         {spread(stop, 's')}")
            ready, _ = ready_and_stop(lab, tier, "--keep-agent")
            print(f"{tier}: ready, agent kept there  {spread(ready[1:], 's')}")
            for _ in range(ROUNDS):
                rate, app, counters = throughput(lab, tier)
                print(f"{tier}: end to end {rate:.0f} MB/s of a download at {app:.0f} MB/s; packets "
                      f"recorded {counters['packets']}, lost in the kernel {counters['dropped_kernel']}",
                      flush=True)


if __name__ == "__main__":
    main()
