"""lab.py - two network namespaces, two UIDs, one far end; captures that run beside each other

The app's namespace has veth0 (10.77.0.1, fd77::1) and lo; the far end has 10.77.0.2-5, fd77::2-5,
and routes to 10.78.1-3.x that are unreachable, prohibited and silent. Everything here ends with the
Lab, and what a killed run left behind goes when the next one starts.
"""
import dataclasses
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import shapes
import truth
from pace import PATIENCE, WAIT, ended, in_time  # noqa: F401 (what tests ask the lab for)
from processes import agent_of, die_with_parent, family  # noqa: F401 (the same)

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("APPTAP_BUILD", os.path.join(REPO, "build"))
APPTAP = os.path.join(BUILD, "apptap")
if not os.path.exists(APPTAP):
    APPTAP = os.path.join(BUILD, "cli", "apptap")
TRAFFIC = os.path.join(BUILD, "tests", "e2e", "traffic")
SERVER = os.path.join(BUILD, "tests", "e2e", "server")
ONLY_THE_APP = ("portrange 20000-29999 or portrange 41000-41999",)  # and what flushes buffers

# In few processes: under an emulator each takes its time.
SETUP_APP = """
ip -batch - <<END
link set lo up
link set veth0 up
addr add 10.77.0.1/24 dev veth0
addr add fd77::1/64 dev veth0 nodad
route add 10.78.0.0/16 via 10.77.0.2
route add fd78::/16 via fd77::2
route add 239.0.0.0/8 dev veth0
END
sysctl -qw net.ipv4.ip_local_port_range="20000 39999" net.ipv4.ping_group_range="0 2147483647" \\
    net.ipv4.tcp_tw_reuse=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=10000 2>/dev/null || true
"""
SETUP_SRV = """
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip -batch - <<END
link set lo up
link set veth1 up
""" + "".join(f"""\
addr add 10.77.0.{n}/24 dev veth1
addr add fd77::{n}/64 dev veth1 nodad
""" for n in range(2, 6)) + """\
route add unreachable 10.78.1.0/24
route add prohibit 10.78.2.0/24
route add blackhole 10.78.3.0/24
route add unreachable fd78:1::/32
route add prohibit fd78:2::/32
route add blackhole fd78:3::/32
route add 239.0.0.0/8 dev veth1
END
sysctl -qw net.ipv4.ip_local_port_range="50000 60999" net.core.somaxconn=8192 \\
    net.ipv4.tcp_max_syn_backlog=8192 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=10000 2>/dev/null || true
"""


# NETLINK_NETFILTER, IPCTNL_MSG_CT_DELETE without a tuple: all of them.
FLUSH_CONNTRACK = """
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 1, 0, 0, 0, 0))
s.recv(4096)
"""
# In front of a command: the same programs, but of the kernel's own tables (iptables-legacy). Both are
# links to one file each, and look at the name they are called by.
LEGACY = ("unshare", "-m", "sh", "-c", 'mount --bind /usr/sbin/xtables-legacy-multi '
          '/usr/sbin/xtables-nft-multi && exec "$@"', "sh")


class LabError(Exception):
    """The lab itself did not work: says nothing about the tool."""


def why_not():
    """Why the lab cannot be built here; None: it can."""
    if os.geteuid():
        return "needs root"
    for tool in ("ip", "nsenter", "tcpdump", "sysctl"):
        if not shutil.which(tool):
            return f"needs {tool}"
    for path in (TRAFFIC, SERVER):
        if not os.path.exists(path):
            return f"needs {os.path.relpath(path, REPO)} (./dev build)"
    name = f"at-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "needs network namespaces"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


class ReferenceLost(LabError):
    """The machine was too busy for the reference capture."""


class Program:
    """A child process whose output is read as it comes."""

    def __init__(self, argv, merge=False, env=None):
        self.argv = argv
        self.proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else None, env=env)
        self.buffer = b""

    def line(self, timeout=WAIT):
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.proc.stdout], [], [], left)[0]:
                raise LabError(f"{' '.join(self.argv[-8:])}: silent for {timeout} s")
            got = os.read(self.proc.stdout.fileno(), 65536)
            if not got:
                raise LabError(f"{' '.join(self.argv[-8:])}: ended")
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def say(self, text):
        self.proc.stdin.write(text.encode() + b"\n")
        self.proc.stdin.flush()

    def finish(self, timeout=WAIT):
        self.proc.stdin.close()
        ended(self.proc, timeout)
        code = self.proc.wait(0)
        self.proc.stdout.close()
        return code

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        for f in (self.proc.stdin, self.proc.stdout):
            if f and not f.closed:
                try:
                    f.close()
                except OSError:
                    pass


class Capture:
    """A capturing program: its stderr tells when it is ready, its file what it saw."""

    loses_its_tail = False	# tcpdump: what is in its ring at Ctrl-C is not in its file
    READY = re.compile(r"\bready\b|\bcapturing\b|\blistening on\b", re.I)

    def __init__(self, argv, path):
        self.argv, self.path, self.talk = argv, path, []
        self.event, self.stdout = threading.Event(), tempfile.TemporaryFile("w+")
        self.began = time.monotonic()
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.stdout,
            stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=die_with_parent)
        self.reader = threading.Thread(target=self._listen, daemon=True)
        self.reader.start()

    def _listen(self):
        for line in self.proc.stderr:
            self.talk.append(line.rstrip())
            if not self.event.is_set() and self.READY.search(line):
                self.ready_s = time.monotonic() - self.began
                self.event.set()
        self.event.set()

    def wait_ready(self, timeout=WAIT):
        if not self.event.wait(timeout) or not hasattr(self, "ready_s"):
            self.kill()
            raise RuntimeError(f"{' '.join(self.argv)}: never ready:\n" + "\n".join(self.talk))
        return self

    def stop(self, timeout=WAIT):
        """Ctrl-C; returns the exit code. stop_s is how long it took."""
        start = time.monotonic()
        self.proc.send_signal(signal.SIGINT)
        if not ended(self.proc, timeout):
            self.kill()
            raise RuntimeError(f"{self.argv}: no end {timeout} s after SIGINT")
        code = self.proc.wait()
        self.stop_s = time.monotonic() - start
        self.reader.join()
        return code

    def json(self):
        """The object it wrote to stdout, or None."""
        self.stdout.seek(0)
        text = self.stdout.read()
        try:
            return json.loads(text)
        except ValueError:
            lines = [line for line in text.splitlines() if line.startswith("{")]
            return json.loads(lines[-1]) if lines else None

    def cpu_seconds(self):
        """User and system time of the process and its children so far."""
        total = 0.0
        for pid in family(self.proc.pid):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rpartition(")")[2].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.reader.join(WAIT)


class Reference:
    """All that passes, by one tcpdump an interface; valid only if none of them lost a packet."""

    def __init__(self, lab, what=(), buffer_kib=65536, interfaces=("veth0", "lo")):
        self.lab, self.captures = lab, []
        for name in interfaces:
            path = lab.file(f"reference-{name}.pcap")
            argv = ["tcpdump", "-i", name, "-nn", "-B", str(buffer_kib), "-s", "0", "--nano",
                "-Z", "root", "-w", path, *what]
            self.captures.append(lab.capture(argv, path))
        for c in self.captures:
            c.wait_ready()

    @property
    def paths(self):
        return [c.path for c in self.captures]

    def stop(self, flush=True):
        """Makes sure that all it saw is in its files, and that it lost nothing."""
        if flush:
            self.lab.flush(self.paths)
        for c in self.captures:	# all of them before the verdict: none may run into the next try
            c.stop()
        for c in self.captures:
            if self.lost(c):
                raise ReferenceLost(f"the reference lost packets: {c.talk[-3:]}")

    @staticmethod
    def lost(capture):
        """How many packets the kernel dropped, as tcpdump said at its end; -1: it did not say."""
        said = re.search(r"^(\d+) packets? dropped by kernel", "\n".join(capture.talk), re.M)
        return int(said[1]) if said else -1


@dataclasses.dataclass
class Workload:
    """A class of accuracy.md, as programs to start."""
    name: str
    count: int = 200
    program: str = ""	# of traffic; "": the class's name
    far: str = ""		# a program at the far end that it needs, once a UID
    before: bool = False	# set up before the capture starts
    recall: float = 1.0
    options: tuple = ()
    solo: str = ""		# "": app and bystander each; else one process plays both
    max_failed: float = 0.0
    lasting: bool = False	# what touches its first port, a server's, lives long: all of it
    slot: int = -1


WORKLOADS = [
    Workload("tcp_short", 300),
    Workload("dns", 600, recall=0.995),
    Workload("udp_fire", 300, recall=0.99),
    Workload("quic", 600),
    Workload("churn_tcp", recall=0.999, options=("seconds=1.5",), max_failed=0.001),
    Workload("churn_udp", recall=0.995, options=("seconds=1.5",), max_failed=0.001),
    Workload("bulk_down", 3, options=("size=8000000",)),
    Workload("bulk_up", 3, options=("size=8000000",)),
    Workload("inbound_tcp", 300, far="inbound_tcp_far"),
    Workload("inbound_udp", 300, far="inbound_udp_far"),
    Workload("inbound_tcp_old", 300, "inbound_tcp", "inbound_tcp_far", before=True),
    Workload("inbound_udp_old", 300, "inbound_udp", "inbound_udp_far", before=True),
    Workload("multicast_in", 100, "multicast", "multicast_send"),
    Workload("multicast_out", 100, "multicast_send", options=("port=7300",)),
    Workload("preexisting", 20, before=True),
    Workload("linger0", 200),
    Workload("half_close", 200),
    Workload("server_first", 200),
    Workload("sigkill", 30),
    # A refused socket is in the kernel's tables for some 10 us; old kernels limit ICMP for all namespaces.
    Workload("refused", 150, recall=0.995, max_failed=0.05),
    Workload("unreachable", 90),
    Workload("fragments", 100),
    Workload("ping", 200),
    Workload("udplite", 200),
    Workload("raw", 100),
    Workload("loopback", 320),
    # Its clients live under a millisecond; its servers do not.
    Workload("loopback_udp", 320, recall=0.995, lasting=True),
    # UDP. A reply that comes while its port passes to the other user within some 100 us is nobody's
    # to tell (docs/attribution.md): 0-0.4 % here, depending on how fast the CPUs wake up.
    Workload("port_reuse", 2000, solo="both", recall=0.995),
    Workload("port_reuse_tcp", 200, solo="both"),
]
for _i, _w in enumerate(WORKLOADS):
    _w.slot = _i
BY_NAME = {w.name: w for w in WORKLOADS}


@dataclasses.dataclass
class Outcome:
    report: truth.Report
    results: dict		# (class, role): what the workload said of itself
    json: dict		# the tool's own account
    tool: Capture
    code: int

    def tally(self, workload):
        """What the report says of one class of a capture that held many."""
        named = workload.name if workload.name in truth.NAMED else None
        key = named or workload.slot
        tally = truth.Tally()
        tally.add(self.report.slots[key])
        if key == "port_reuse":	# the questions that it asks from a port of its own
            tally.add(self.report.slots[workload.slot])
        return tally


class Lab:
    count = 0	# of labs in this process; each has names of its own

    def __init__(self):
        Lab.count += 1
        self.nth = Lab.count
        self.names = {}
        self.programs, self.captures = [], []
        # Role to cgroup: then both are of one UID, and only their cgroups tell them apart.
        self.cgroups = {}
        self.folder = None

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _build(self):
        remove_leftovers()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        base = os.environ.get("APPTAP_LAB_FOLDER", memory)
        self.folder = tempfile.mkdtemp(prefix=f"at-{os.getpid()}-", dir=base)
        for role in ("app", "srv"):
            name = f"at-{os.getpid()}-{self.nth}-{role}"
            run("ip", "netns", "add", name)
            self.names[role] = name
        run("ip", "link", "add", "veth0", "netns", self.names["app"], "type", "veth",
            "peer", "name", "veth1", "netns", self.names["srv"])
        for role, script in (("app", SETUP_APP), ("srv", SETUP_SRV)):
            run(*self.inside(role), "sh", "-ec", script)
        self.server = self.program("srv", SERVER)
        self.server.line()
        # The neighbours know each other before anything is measured.
        pings = [subprocess.Popen([*self.inside("app"), "ping", "-c1", "-W2", addr],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for n in range(2, 6) for addr in (f"10.77.0.{n}", f"fd77::{n}")]
        for p in pings:
            p.wait()

    def inside(self, role):
        return ["nsenter", f"--net=/run/netns/{self.names[role]}"]

    def file(self, name):
        return os.path.join(self.folder, name)

    def program(self, role, *argv):
        p = Program([*self.inside(role), *argv])
        self.programs.append(p)
        return p

    def capture(self, argv, path):
        # A new file, not the old one made empty: whoever still writes to that keeps it.
        if os.path.exists(path):
            os.unlink(path)
        c = Capture([*self.inside("app"), *argv], path)
        self.captures.append(c)
        return c

    def traffic(self, role, workload, *options, cgroup=None):
        enter = ["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', cgroup] if cgroup else []
        return self.program(role, *enter, TRAFFIC, workload, *options)

    def hoard(self, count):
        """Opens that many sockets of the bystander's; they stay until the test ends."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100
        parts = -(-count // min(most, 15000))
        programs = [self.traffic("app", "hoard", f"uid={truth.BYSTANDER_UID}", f"port={i}",
                                 "ports=31000-39999", f"count={count // parts}")
                    for i in range(parts)]
        for p in programs:
            p.line()

    def filler(self):
        p = self.traffic("app", "filler", "ports=41000-41999")
        p.line()
        p.say("go")
        p.line()
        p.finish()
        self.programs.remove(p)

    def flush(self, paths):
        """Pushes what tcpdump still holds in its ring to its file, by traffic of nobody's."""
        deadline = time.monotonic() + WAIT
        before = [max(0, os.path.getsize(p) - 16) for p in paths]
        while True:
            self.filler()
            found = 0
            for path, start in zip(paths, before):
                with open(path, "rb") as f:
                    f.seek(start)
                    found += b"SENTINEL" in f.read()
            if found == len(paths):
                return
            if time.monotonic() > deadline:
                raise LabError("a reference capture does not reach its file")

    def apptap(self, *options, tier="sockdiag", name="out.pcapng", env=(), target=None):
        path = self.file(name)
        target = target or ["--uid", str(truth.APP_UID)]
        argv = ["env", *env, APPTAP, *target, "--local", "--tier", tier, "-v",
            "--json", "-o", path, *options]
        return self.capture(argv, path)

    def tcpdump(self, *options, name="tool.pcap"):
        """A full capture in the tool's place: the comparer must see what leaks."""
        path = self.file(name)
        tool = self.capture(["tcpdump", "-i", "any", "-nn", "-B", "65536", "--nano", "-Z", "root",
                     "-w", path, *options], path)
        tool.loses_its_tail = True
        return tool

    def forget_connections(self):
        """What one test leaves in conntrack is no part of the next: its ports come again."""
        subprocess.run([*self.inside("app"), sys.executable, "-IS", "-c", FLUSH_CONNTRACK], check=False)

    def clear(self):
        """Ends what a test left running and removes its files."""
        for p in self.programs[1:] + self.captures:
            p.kill()
        del self.programs[1:], self.captures[:]
        self.forget_connections()
        for name in os.listdir(self.folder):
            os.unlink(self.file(name))

    def close(self):
        for p in self.captures + self.programs:
            p.kill()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, w):
        """The programs of one class as [(role, program)], all set up and waiting for "go"."""
        program, started = w.program or w.name, []
        sides = [("app", truth.APP_UID, 20000, 30000, truth.APP_RAW)]
        if not w.solo:
            sides.append(("bystander", truth.BYSTANDER_UID, 30000, 20000, truth.BYSTANDER_RAW))
        for role, uid, base, peer, raw in sides:
            lo = base + w.slot * truth.SLOT
            other = truth.APP_UID + truth.BYSTANDER_UID - uid
            options = [f"uid={truth.APP_UID if self.cgroups else uid}", f"other={other}", f"count={w.count}",
                   f"ports={lo}-{lo + truth.SLOT - 1}", f"peer={peer + w.slot * truth.SLOT}"]
            if w.name == "raw":
                options.append(f"port={raw}")
            if w.solo:
                options.append(f"port={truth.SHARED_PORTS[0]}")
            started.append((role, self.traffic("app", program, *options, *w.options,
                                               cgroup=self.cgroups.get(role))))
        for _, p in started:
            p.line()
        for role, base in (("app far", 20000), ("bystander far", 30000)) if w.far else ():
            port = base + w.slot * truth.SLOT
            far = self.traffic("srv", w.far, f"port={port}", f"count={w.count}")
            far.line()
            started.append((role, far))
        return started

    def run(self, workloads, make_tool, what=(), buffer_kib=65536, tries=3):
        """Runs the classes beside the tool and the reference, and holds one against the other."""
        [outcome] = self.run_all(workloads, lambda: [make_tool()], what, buffer_kib, tries)
        return outcome

    def run_all(self, workloads, make_tools, what=(), buffer_kib=65536, tries=3):
        """The same with several tools at once: an outcome for each."""
        for left in reversed(range(tries)):
            try:
                return self._run(workloads, make_tools, what, buffer_kib)
            except ReferenceLost:
                if not left:
                    raise
                buffer_kib *= 2

    def _run(self, workloads, make_tools, what, buffer_kib):
        reference = Reference(self, what, buffer_kib)
        running = {w.name: self._start(w) for w in workloads if w.before}
        tools = make_tools()
        for tool in tools:
            tool.wait_ready()
        start = time.time()
        running.update({w.name: self._start(w) for w in workloads if not w.before})
        results = self._go(running)
        end = time.time()
        slow = [tool.path for tool in tools if tool.loses_its_tail]
        if slow:
            self.flush(slow)
        codes = [tool.stop() for tool in tools]
        reference.stop()
        self._check(workloads, results)
        return [self._outcome(reference, results, tool, code, (start, end))
                for tool, code in zip(tools, codes)]

    def _outcome(self, reference, results, tool, code, when):
        account = tool.json()
        paths = shapes.reference(reference.paths, (account or {}).get("tier"))
        report = truth.compare(paths, truth.to_pcap(tool.path, self.file("ours.pcap")), *when)
        if report.unknown:
            raise LabError(f"whose is it? {[truth.words(*p) for p in report.unknown[:5]]}")
        return Outcome(report, results, account, tool, code)

    def _go(self, running):
        results = {}
        everyone = [(name, role, p) for name, ps in running.items() for role, p in ps]
        for _, _, p in everyone:
            p.say("go")
        for name, role, p in everyone:
            results[name, role] = json.loads(p.line())
        for _, _, p in everyone:
            if p.finish():
                raise LabError(f"{' '.join(p.argv)} failed")
            self.programs.remove(p)
        return results

    @staticmethod
    def _check(workloads, results):
        most = {w.name: w.max_failed for w in workloads}
        for (name, role), r in results.items():
            if r["failed"] > r["flows"] * most[name] or not r["flows"]:
                raise LabError(f"{name} of the {role}: {r}")


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")


def remove_leftovers():
    """Namespaces and folders of labs whose process is no more."""
    for folder in ("/run/netns", "/dev/shm"):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            found = re.match(r"at-(\d+)-", name)
            if not found or os.path.exists(f"/proc/{found[1]}"):
                continue
            if folder == "/run/netns":
                subprocess.run(["ip", "netns", "del", name], check=False)
            else:
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
