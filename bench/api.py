#!/usr/bin/python3
"""api.py - what the library adds: packets a second by callback, by reading and through Python, and
CPU a packet into a file, beside the program doing the same

The packets are made up by the tests' own tier (tests/api/replay_agent.c), so that what is behind it is
what is measured: connections, the wire to the host, the library, the language.
"""
import collections
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

from common import ROUNDS, lab_module, spread, table

PACKETS = int(os.environ.get("BENCH_PACKETS", "3000000"))
BUILD = os.path.abspath(lab_module.BUILD)
REPLAY = os.path.join(BUILD, "tests", "api", "replay-agent")
RATE = os.path.join(BUILD, "tests", "api", "api-rate")
ENV = {
    **os.environ, "APPTAP_AGENT": REPLAY, "REPLAY_PACKETS": str(PACKETS),
    "APPTAP_LIBRARY": os.path.join(BUILD, "libapptap.so"),
    "PYTHONPATH": os.path.join(lab_module.REPO, "python"), "PYTHONDONTWRITEBYTECODE": "1",
}
PYTHON = """
import json, sys, time
import apptap
session = apptap.CaptureSession(apptap.Target(uids=[5001]), apptap.LocalExecutor(), None,
                                packets=True, count=int(sys.argv[2]))
session.start()
began, count = time.monotonic(), 0
if sys.argv[1] == "batches":
    for batch in session.packet_batches():
        count += len(batch)
else:
    for packet in session.packets():
        count += 1
seconds = time.monotonic() - began
session.stop()
print(json.dumps({"packets": count, "seconds": seconds}))
"""


def run(argv):
    """What it printed, and the CPU seconds of it and its agent."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, env=ENV, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, cpu


def main():
    if os.geteuid():
        sys.exit("api: needs root")
    if not os.path.exists(REPLAY):
        sys.exit("api: needs tests/api (./dev build)")
    rates, cpus = collections.defaultdict(list), collections.defaultdict(list)
    live = {
        "C, callback": [RATE, "callback", str(PACKETS)],
        "C, apptap_session_read()": [RATE, "read", str(PACKETS)],
        "Python, packet_batches()": [sys.executable, "-c", PYTHON, "batches", str(PACKETS)],
        "Python, packets()": [sys.executable, "-c", PYTHON, "single", str(PACKETS)],
    }
    print(f"{PACKETS} packets of 64 bytes, made up; {ROUNDS} rounds, median (spread); "
          f"{os.cpu_count()} CPUs, Linux {os.uname().release}")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = os.path.join(folder, "x.pcap")
        files = {
            "the program": [REPLAY, "--uid", "5001", "--local", "-q", "-o", path, "-c", str(PACKETS)],
            "the library": [RATE, path, str(PACKETS)],
        }
        for turn in range(ROUNDS):
            for name, argv in live.items():
                out, cpu = run(argv)
                got = json.loads(out)
                assert got["packets"] == PACKETS, (name, got)
                rates[name].append(got["packets"] / got["seconds"])
                cpus[name].append(cpu / PACKETS * 1e9)
            # Who comes second would pay for emptying the first one's file.
            for name in list(files)[::1 if turn % 2 else -1]:
                if os.path.exists(path):
                    os.unlink(path)
                cpus[name].append(run(files[name])[1] / PACKETS * 1e9)
    table(("live", "packets/s", "CPU ns a packet"),
          [(name, spread(rates[name]), spread(cpus[name])) for name in live])
    base = statistics.median(cpus["the program"])
    table(("into a file", "CPU ns a packet", "of the program's"),
          [(name, spread(cpus[name]), f"{statistics.median(cpus[name]) / base:.3f}")
           for name in files])


main()
