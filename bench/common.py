"""common.py - what the benchmarks share: the lab of tests/e2e, rounds with their median, a table

Not executable: ./dev bench runs what is.
"""
import contextlib
import json
import os
import statistics
import subprocess
import sys

E2E = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "e2e")
sys.path.insert(0, E2E)
import lab as lab_module  # noqa: E402
import truth  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
TIER = os.environ.get("BENCH_TIER", "auto")
MIB = 1 << 20


def build_programs():
    """The lab's own programs, where a build for users left them out."""
    sources = {lab_module.TRAFFIC: ["traffic.c", "traffic_sock.c", "traffic_tcp.c", "traffic_udp.c",
                                    "traffic_odd.c"], lab_module.SERVER: ["server.c"]}
    for path, names in sources.items():
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-pthread", "-o", path,
                            *(os.path.join(E2E, n) for n in names)], check=True)


def on_tmpfs(lab):
    return lab.folder.startswith("/dev/shm")


@contextlib.contextmanager
def bench(title, rounds=ROUNDS):
    """The lab, or an end with the reason; afterwards nothing is left."""
    build_programs()
    reason = lab_module.why_not()
    if not reason and not os.access(lab_module.APPTAP, os.X_OK):
        reason = "needs the program: ./dev build"
    if reason:
        sys.exit(f"{title}: {reason}")
    with lab_module.Lab() as lab:
        where = "tmpfs" if on_tmpfs(lab) else "disk"
        print(f"{title}; {rounds} round{'s, median (spread)' if rounds > 1 else ''}; "
              f"{os.cpu_count()} CPUs, Linux {os.uname().release}; captures go to files on {where}")
        yield lab


def tcpdump(lab, *options):
    """The peer as a user starts it. Its default buffer is 2 MiB."""
    path = lab.file("peer.pcap")
    return lab.capture(["tcpdump", "-i", "any", "-nn", "-Z", "root", "-w", path, *options], path)


def apptap(lab, *options, name="out.pcapng"):
    return lab.apptap(*options, tier=TIER, name=name)


def warm(lab, size):
    """Has the memory of a file that is to come: on a virtual machine the host may have taken it back,
    and then writes to tmpfs run at a quarter of their speed (dd: 0.6 GB/s, at once again 2.0)."""
    path, chunk = lab.file("warm"), bytes(MIB)
    if os.environ.get("BENCH_COLD"):
        return
    with open(path, "wb", buffering=0) as f:
        for _ in range(size // MIB):
            f.write(chunk)
    os.unlink(path)


def start(lab, workload, uid, *options):
    """A workload set up and waiting, with ports of its UID."""
    base = 20000 if uid == truth.APP_UID else 30000
    p = lab.traffic("app", workload, f"uid={uid}", f"ports={base}-{base + 7999}", *options)
    p.line()
    return p


def result(program):
    """What the workload says at its end."""
    answer = json.loads(program.line(120))
    program.finish()
    return answer


def together(*programs):
    for p in programs:
        p.say("go")
    return [result(p) for p in programs]


def flood_of(programs):
    """What each says at its end, and the CPU seconds that all of them took."""
    before = sum(map(cpu_of, programs))
    for p in programs:
        p.say("go")
    answers = [json.loads(p.line(120)) for p in programs]
    cpu = sum(map(cpu_of, programs)) - before
    for p in programs:
        p.finish()
    return answers, cpu


def cpu_of(program):
    """User and system time so far: of a sender, what the kernel does for its packets is in it."""
    with open(f"/proc/{program.proc.pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(values, form="{:.0f}"):
    """The median, and in brackets what it varied between."""
    low, mid, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return mid if low == high else f"{mid} ({low}-{high})"


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(str(cell).ljust(w) if i == 0 else str(cell).rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))))
    sys.stdout.flush()


def ratio(values, peer):
    """How often the peer's median goes into ours."""
    base = statistics.median(peer)
    return f"{statistics.median(values) / base:.2f}" if base else "-"
