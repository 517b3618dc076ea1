"""test_cli.py - the program as its user meets it: options, faults, endings, and what is left behind

Every run is in a network namespace of its own, held by a process, so that nothing stays when a test
dies. UID 5001 sends datagrams to itself over lo; what it sends is told by its payload.
"""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time

import pytest

import lab

APPTAP = lab.APPTAP
UID = 5001
WAIT = 15  # seconds until a step counts as stuck

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.access(APPTAP, os.X_OK), reason="needs the program: ./dev build"),
]

SENDER = """
import os, socket, sys, time
os.setgid(%d); os.setuid(%d)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
s.connect(s.getsockname())
s.send(b"first"); s.recv(100)
print("sending", flush=True)
while True:
    s.send(b"apptap-test" + b"x" * int(sys.argv[1])); s.recv(65536)
    time.sleep(float(sys.argv[2]))
"""


class Holder:
    """A process that holds namespaces open; they end with it."""

    def __init__(self, *flags):
        self.proc = subprocess.Popen(
            ["unshare", *flags, "sh", "-c", "ip link set lo up; echo held; exec sleep infinity"],
            stdout=subprocess.PIPE, text=True)
        assert self.proc.stdout.readline() == "held\n"

    def enter(self, *flags):
        return ["nsenter", "-t", str(self.proc.pid), *flags]

    def sh(self, script, *flags):
        return subprocess.run(self.enter(*(flags or ("-n",))) + ["sh", "-ec", script], check=True,
                              capture_output=True, text=True)

    def end(self):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()


@pytest.fixture(scope="module")
def net():
    holder = Holder("-n")
    yield holder
    holder.end()


@pytest.fixture
def tmp():
    """A folder that every user may enter, unlike pytest's."""
    path = tempfile.mkdtemp(prefix="apptap-cli-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def sending(net, size=10, every=0.002, uid=UID):
    with subprocess.Popen(
            net.enter("-n") + [sys.executable, "-c", SENDER % (uid, uid), str(size), str(every)],
            stdout=subprocess.PIPE, text=True) as proc:
        assert proc.stdout.readline() == "sending\n"
        try:
            yield proc
        finally:
            proc.kill()


@pytest.fixture
def traffic(net):
    with sending(net) as proc:
        yield proc


class Run:
    """One apptap; its stderr is read as it comes."""

    def __init__(self, net, *args, flags=("-n",), prefix=(), stdout=subprocess.PIPE, stderr=None,
                 env=None):
        self.err = ""
        self.proc = subprocess.Popen(net.enter(*flags) + [*prefix, APPTAP, *map(str, args)],
                                     stdin=subprocess.DEVNULL, stdout=stdout,
                                     stderr=stderr or subprocess.PIPE, env=env)

    def until(self, text):
        """Reads stderr until @text has come."""
        end = time.monotonic() + WAIT
        while text not in self.err:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.proc.stderr], [], [], max(left, 0))
            assert ready, f"no {text!r} within {WAIT} s, only {self.err!r}"
            got = os.read(self.proc.stderr.fileno(), 4096)
            assert got, f"ended before {text!r}: {self.err!r}"
            self.err += got.decode()
        return self

    def ready(self):
        return self.until("apptap: capturing")

    def agents(self):
        """PIDs of all processes below this one."""
        return children(self.proc.pid)

    def end(self, sig=None):
        if sig:
            self.proc.send_signal(sig)
        try:
            self.out, err = self.proc.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.communicate()
            raise
        self.err += (err or b"").decode()
        return self.proc.returncode


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            found = [int(p) for p in f.read().split()]
    except OSError:
        return []
    return found + [below for p in found for below in children(p)]


def gone_within(pids, seconds):
    """Whether all of @pids (pidfds) end in time."""
    end = time.monotonic() + seconds
    for fd in pids:
        if not select.select([fd], [], [], max(end - time.monotonic(), 0))[0]:
            return False
    return True


def run(net, *args, **kw):
    """A whole run: exit code, stdout, stderr."""
    r = Run(net, *args, **kw)
    code = r.end()
    return code, (r.out or b"").decode(), r.err


def packets(path):
    """How many packets tshark reads; it complains (and this fails) when the file is cut short."""
    done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.number"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr
    return len(done.stdout.splitlines())


def says(err, message, hint=None):
    """stderr ends with one message, and one hint below it."""
    lines = err.splitlines()
    assert any(line.startswith("apptap: ") and message in line for line in lines), err
    if hint is not None:
        assert lines[-1].startswith("try: ") and hint in lines[-1], err


# Usage


@pytest.mark.parametrize("args, message, hint", [
    (["curl", "-o", "x.pcap"], "adb is not there yet", "--local"),
    (["curl", "--local"], "where the capture goes", "-o"),
    (["--local", "-o", "x.pcap"], "whose traffic", "--whole-device"),
    (["curl", "--local", "-o", "x.pcap", "--bogus"], "--bogus", "--help"),
    (["curl", "--local", "-o", "x.pcap", "-d", "soon"], "'soon'", "2.5"),
    (["curl", "--local", "-o", "x.pcap", "--tier", "nflog"], "not there yet", "sockdiag"),
    (["curl", "--local", "-o", "x.pcap", "--nflog-group", "3"], "not there yet", ""),
    (["curl", "--device", "x", "-o", "x.pcap"], "adb is not there yet", "--local"),
    (["curl", "--local", "-o", "-", "--json"], "stdout", "-o FILE"),
])
def test_usage_errors(net, args, message, hint):
    code, out, err = run(net, *args)
    assert code == 2
    assert out == ""
    says(err, message, hint)


def test_help_and_version(net):
    code, out, err = run(net, "--help")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    for option in ("--uid", "--tier", "--probe", "-o, --output", "Examples:"):
        assert option in out
    code, out, _ = run(net, "-V")
    assert code == 0 and re.fullmatch(r"apptap \d+\.\d+\.\d+\n", out)


def test_the_man_page_knows_every_option(net):
    with open(os.path.join(lab.REPO, "man", "apptap.1")) as f:
        page = f.read().replace("\\-", "-")
    _, out, _ = run(net, "--help")
    options = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", out, re.M))
    assert len(options) > 15
    assert not {o for o in options if not re.search(re.escape(o) + r"(?![\w-])", page)}


def test_interrupt_before_ready(net, tmp):
    """Whenever it comes: no agent is left, and no half file. Asked for at each stage of a start."""
    for wait in (0, 0.001, 0.003, 0.006, 0.012, 0.025, 0.05):
        r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap")
        time.sleep(wait)  # not synchronisation: the moment is what varies
        agents = []
        for pid in r.agents():
            with contextlib.suppress(OSError):
                agents.append(os.pidfd_open(pid))
        code = r.end(signal.SIGINT)
        assert code in (0, -signal.SIGINT), r.err  # by the signal itself before it is caught
        assert gone_within(agents, 1)
        if os.path.exists(f"{tmp}/x.pcap") and code == 0:
            assert packets(f"{tmp}/x.pcap") == 0


def test_probe(net):
    code, out, _ = run(net, "--probe", "--local", "--json")
    found = json.loads(out)["tiers"]
    assert "sockdiag" in [t["name"] for t in found]
    for t in found:
        assert t["gist"] and (t["works"] or t["reason"])
    assert code == (0 if any(t["works"] for t in found) else 3)
    code, out, _ = run(net, "--probe", "--local")
    assert re.search(r"^sockdiag +(yes|no) +\S", out, re.M)


# Targets


def test_unknown_name(net, tmp):
    path = f"{tmp}/x.pcap"
    code, _, err = run(net, "no-such-program-here", "--local", "-o", path)
    assert code == 1
    says(err, "no-such-program-here")
    assert not os.path.exists(path)  # nothing began: nothing is left


def test_dead_pid(net, tmp):
    gone = subprocess.Popen(["true"])
    gone.wait()
    code, _, err = run(net, gone.pid, "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    says(err, str(gone.pid))


def test_a_file_that_was_there_stays_when_nothing_begins(net, tmp):
    path = f"{tmp}/x.pcap"
    open(path, "w").close()
    assert run(net, "no-such-program-here", "--local", "-o", path)[0] == 1
    assert os.path.exists(path)


def test_pid_that_dies(net, tmp):
    with sending(net) as proc:
        r = Run(net, proc.pid, "--local", "-o", f"{tmp}/x.pcap").ready()
        proc.kill()
        proc.wait()
        r.until("has ended")
    with sending(net) as proc:  # the UID is captured on, whoever runs as it
        assert r.end(signal.SIGINT) == 0
    assert packets(f"{tmp}/x.pcap") >= 0


def test_a_hostile_process_name_does_not_reach_the_terminal(net, tmp):
    name = "\x1b[31mevil\x07"
    code, _, err = run(net, name, "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    assert "\x1b" not in err and "\x07" not in err and "?[31mevil?" in err


# Where the file goes


def test_missing_folder(net, tmp):
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/none/x.pcap")
    assert code == 1
    says(err, f"no folder '{tmp}/none'", "folder")


def test_unwritable_folder(net, tmp):
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap",
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert code == 1
    says(err, f"folder '{tmp}'", "-o FILE")


def test_folder_vanishes(net, tmp, traffic):
    os.mkdir(f"{tmp}/sub")
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/sub/x.pcap").ready()
    shutil.rmtree(f"{tmp}/sub")
    assert r.end(signal.SIGINT) == 1
    says(r.err, "was removed while it was written")


@pytest.mark.parametrize("path, message", [("/proc/x.pcap", "no file can be made there"),
                                           ("/tmp", "is a folder"), ("/tmp/", "a folder"),
                                           ("/dev/null/x.pcap", "is not a folder")])
def test_places_that_take_no_file(net, path, message):
    code, _, err = run(net, "--uid", UID, "--local", "-o", path)
    assert code == 1
    says(err, message)


def test_file_mode(net, tmp):
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.05")[0] == 0
    assert stat.S_IMODE(os.stat(f"{tmp}/x.pcap").st_mode) == 0o600


def test_an_older_capture_is_replaced(net, tmp):
    with open(f"{tmp}/x.pcap", "wb") as f:
        f.write(b"old" * 10000)
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.05")[0] == 0
    assert packets(f"{tmp}/x.pcap") == 0


@pytest.mark.parametrize("trap", ["link", "dangling", "folder", "hardlink", "foreign"])
def test_shared_folders_hold_traps(net, tmp, trap):
    shared, victim = f"{tmp}/shared", f"{tmp}/victim"
    os.mkdir(shared)
    os.chmod(shared, 0o1777)
    os.mkdir(f"{tmp}/dir")
    with open(victim, "w") as f:
        f.write("precious")
    path = f"{shared}/x.pcap"
    if trap == "link":
        os.symlink(victim, path)
    elif trap == "dangling":
        os.symlink(f"{tmp}/new", path)
    elif trap == "folder":
        os.symlink(f"{tmp}/dir", f"{shared}/sub")
        path = f"{shared}/sub/x.pcap"
    elif trap == "hardlink":
        os.link(victim, path)
    else:
        with open(path, "w") as f:
            f.write("precious")
        os.chown(path, 65534, 65534)
    code, _, err = run(net, "--uid", UID, "--local", "-o", path, "-d", "0.05")
    assert code == 1, err
    says(err, path)
    assert open(victim).read() == "precious"
    assert not os.path.exists(f"{tmp}/new") and not os.listdir(f"{tmp}/dir")


def test_own_link_in_own_folder_is_followed(net, tmp):
    os.symlink(f"{tmp}/real.pcap", f"{tmp}/x.pcap")
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.05")[0] == 0
    assert os.path.islink(f"{tmp}/x.pcap") and packets(f"{tmp}/real.pcap") == 0


@pytest.mark.parametrize("ending", ["pcap", "pcapng"])
def test_full_disk(tmp, ending):
    disk = Holder("-n", "-m")
    try:
        disk.sh(f"mount -t tmpfs -o size=64k none {tmp}", "-m", "-n")
        with sending(disk, size=1000):
            r = Run(disk, "--uid", UID, "--local", "-o", f"{tmp}/x.{ending}", flags=("-n", "-m"))
            assert r.end() == 1  # ends by itself
        says(r.err, "No space left", "space")
        kept = f"/proc/{disk.proc.pid}/root{tmp}/x.{ending}"
        assert os.path.getsize(kept) > 50000
        assert packets(kept) > 40
    finally:
        disk.end()


def test_dev_null(net, traffic):
    assert run(net, "--uid", UID, "--local", "-o", "/dev/null", "-c", 5)[0] == 0


def test_fifo(net, tmp, traffic):
    os.mkfifo(f"{tmp}/fifo")
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/fifo", "-c", 5)
    with open(f"{tmp}/fifo", "rb") as f:
        data = f.read()
    assert r.end() == 0
    assert data[:4] == b"\xd4\xc3\xb2\xa1" and data.count(b"apptap-test") == 5


# Endings


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ending", ["pcap", "pcapng"])
def test_signals_end_with_a_complete_file(net, tmp, traffic, sig, ending):
    path = f"{tmp}/x.{ending}"
    r = Run(net, "--uid", UID, "--local", "-o", path).ready()
    time.sleep(0.3)  # traffic, not synchronisation
    assert r.end(sig) == 0, r.err
    said = int(re.search(r"([\d,]+) packets? \(", r.err)[1].replace(",", ""))
    assert said == packets(path) > 10


def test_two_interrupts_at_once(net, tmp, traffic):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcapng").ready()
    r.proc.send_signal(signal.SIGTERM)
    assert r.end(signal.SIGINT) == 0
    assert packets(f"{tmp}/x.pcapng") >= 0


def test_interrupt_for_the_whole_group(net, tmp, traffic):
    """What a terminal does on Ctrl-C: the agent gets it too, and must leave it to the host."""
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    for pid in r.agents():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert r.end(signal.SIGINT) == 0
    assert packets(f"{tmp}/x.pcap") >= 0


@pytest.mark.parametrize("count", [1, 7, 100])
@pytest.mark.parametrize("where", ["file", "stdout"])
def test_count_is_exact(net, tmp, traffic, count, where):
    path = f"{tmp}/x.pcap"
    if where == "file":
        code, _, err = run(net, "--uid", UID, "--local", "-o", path, "-c", count)
    else:
        with open(f"{tmp}/pipe.pcap", "wb") as f, Piped(f) as pipe:
            code, _, err = run(net, "--uid", UID, "--local", "-o", "-", "-c", count, stdout=pipe)
        path = f"{tmp}/pipe.pcap"
    assert code == 0, err
    assert packets(path) == count


class Piped:
    """A pipe into a file: stdout that is no file."""

    def __init__(self, f):
        self.cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=f)

    def __enter__(self):
        return self.cat.stdin

    def __exit__(self, *exc):
        self.cat.stdin.close()
        self.cat.wait(WAIT)


def test_duration(net, tmp):
    begin = time.monotonic()
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.4", "-q")[0] == 0
    assert 0.4 <= time.monotonic() - begin < 1.4


def test_ready_and_stop_are_quick(net, tmp, traffic):
    """The targets (50 and 100 ms) are measured by the benchmarks; this sees a second that crept in."""
    begin = time.monotonic()
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    ready = time.monotonic()
    assert r.end(signal.SIGINT) == 0
    assert ready - begin < 0.5 and time.monotonic() - ready < 0.5


def test_two_captures_at_once(net, tmp, traffic):
    a = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/a.pcap", "-c", 50)
    b = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/b.pcapng", "-c", 50)
    assert a.end() == 0 and b.end() == 0, a.err + b.err
    assert packets(f"{tmp}/a.pcap") == packets(f"{tmp}/b.pcapng") == 50


def test_interface_goes_away(net, tmp):
    net.sh("ip link add gone0 type veth peer name gone1; ip link set gone0 up; ip addr add 10.99.0.1/24 dev gone0")
    r = Run(net, "--uid", UID, "--local", "-i", "gone0", "-i", "lo", "-o", f"{tmp}/x.pcap").ready()
    net.sh("ip link del gone0")
    with sending(net):
        time.sleep(0.3)  # traffic, not synchronisation
        assert r.end(signal.SIGINT) == 0, r.err
    assert packets(f"{tmp}/x.pcap") > 10


def test_unknown_interface(net, tmp):
    code, _, err = run(net, "--uid", UID, "--local", "-i", "nope9", "-o", f"{tmp}/x.pcap", "-d",
                       "0.1")
    assert code == 1
    says(err, "nope9")


def test_json(net, tmp, traffic):
    path = f"{tmp}/x.pcapng"
    code, out, _ = run(net, "--uid", UID, "--local", "-o", path, "-c", 20, "--json", "-s", 128)
    assert code == 0 and out.count("\n") == 1
    got = json.loads(out)
    assert set(got) == {"apptap", "tier", "uids", "whole_device", "path", "format", "linktype",
                        "snaplen", "ended_by", "duration_ms", "counters", "connections_total",
                        "connections", "warnings", "error"}
    assert got["path"] == path and got["format"] == "pcapng" and got["linktype"] == 276
    assert got["uids"][0]["uid"] == UID and got["ended_by"] == "count" and got["error"] is None
    assert got["counters"]["packets"] == 20 and got["snaplen"] == 128
    assert got["counters"]["bytes"] == os.path.getsize(path)
    assert sum(c["packets_in"] + c["packets_out"] for c in got["connections"]) == 20
    assert got["connections"][0]["protocol"] == "udp" and got["connections"][0]["uid"] == UID
    assert got["connections"][0]["local"].startswith("127.0.0.1:")


def test_json_of_a_failure(net, tmp):
    code, out, err = run(net, "no-such-program-here", "--local", "-o", f"{tmp}/x.pcap", "--json")
    assert code == 1 and "no-such-program-here" in json.loads(out)["error"]["message"]
    says(err, "no-such-program-here")


def test_quiet_is_quiet(net, tmp, traffic):
    code, out, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-c", 3, "-q",
                         "--strict")
    assert (code, out, err) == (0, "", "")


# Streams


def test_stream_is_live(net, traffic):
    r = Run(net, "--uid", UID, "--local", "-o", "-")
    with subprocess.Popen(["tshark", "-n", "-l", "-r", "-"], stdin=r.proc.stdout,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tshark:
        ready, _, _ = select.select([tshark.stdout], [], [], WAIT)
        assert ready and b"127.0.0.1" in tshark.stdout.readline()
        assert r.proc.poll() is None  # it still runs: the packets came while it did
        r.proc.stdout.close()
        r.proc.stdout = None
        assert r.end(signal.SIGINT) == 0, r.err
        tshark.stdout.read()


@pytest.mark.parametrize("busy", [True, False])
def test_reader_goes_away(net, busy):
    with contextlib.ExitStack() as stack:
        if busy:
            stack.enter_context(sending(net))
        r = Run(net, "--uid", UID, "--local", "-o", "-").ready()
        os.read(r.proc.stdout.fileno(), 24)
        r.proc.stdout.close()
        r.proc.stdout = None
        assert r.end() == 1
    says(r.err, "the reader closed the stream")


def test_stalled_reader_does_not_hold_us(net):
    with sending(net, size=30000, every=0.0005):
        r = Run(net, "--uid", UID, "--local", "-o", "-").ready()
        agents = [os.pidfd_open(p) for p in r.agents()]
        assert agents
        end = time.monotonic() + WAIT
        while pending(r.proc.stdout) < 60000 and time.monotonic() < end:
            time.sleep(0.01)
        r.proc.send_signal(signal.SIGINT)
        assert r.proc.poll() is None
        time.sleep(0.2)  # so that they are two, not one pending signal
        r.proc.send_signal(signal.SIGINT)
        assert r.proc.wait(WAIT) == 1
        assert gone_within(agents, 1)
        r.end()


def pending(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def test_no_capture_into_a_terminal(net):
    ours, theirs = pty.openpty()
    code, _, err = run(net, "--uid", UID, "--local", "-o", "-", stdout=theirs)
    os.close(ours)
    os.close(theirs)
    assert code == 2
    says(err, "terminal", "tshark")


def test_status_line(net, tmp, traffic):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.9", stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while True:
            seen += os.read(ours, 4096)
    os.close(ours)
    assert r.end() == 0
    lines = re.findall(rb"\r(\d+:\d\d  [^\r\n\x1b]*)", seen)
    assert len(lines) >= 2, seen
    assert all(len(line) < 40 for line in lines) and b"packets" in lines[0]
    assert re.search(rb"\x1b\[K[^\r]*\r\n", seen)  # taken away before the summary


# Rights


def test_no_sudo_rights(net, tmp):
    os.chmod(tmp, 0o777)
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap",
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert code == 1
    says(err, "needs root", "root")
    assert not os.path.exists(f"{tmp}/x.pcap")


def test_no_sudo_at_all(net, tmp):
    os.chmod(tmp, 0o777)
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap",
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "env", "PATH=/nowhere"))
    assert code == 1
    says(err, "sudo is not installed", "root")


@pytest.fixture(params=["use_pty", "!use_pty"])
def sudoer(request, tmp):
    """A user who may run sudo, in a mount namespace of our own: the machine's files stay."""
    if not shutil.which("sudo"):
        pytest.skip("needs sudo")
    holder = Holder("-n", "-m")
    with open("/etc/passwd") as f:
        passwd = f.read()
    files = {
        "passwd": passwd + "apptaptest:*:54321:54321::/:/bin/sh\n",
        "sudoers": f"Defaults {request.param}\nroot ALL=(ALL) ALL\n"
                   "apptaptest ALL=(root) NOPASSWD: ALL\n",
    }
    for name, text in files.items():
        with open(f"{tmp}/{name}", "w") as f:
            f.write(text)
    os.chmod(f"{tmp}/sudoers", 0o440)
    shutil.copy(APPTAP, f"{tmp}/apptap")  # the build folder may be closed to others
    holder.sh(f"mount --bind {tmp}/passwd /etc/passwd; mount --bind {tmp}/sudoers /etc/sudoers",
              "-m", "-n")
    os.mkdir(f"{tmp}/out")
    os.chown(f"{tmp}/out", 54321, 54321)
    yield holder, request.param
    holder.end()


def as_user(holder, tmp, *args, **kw):
    r = Run.__new__(Run)
    r.err = ""
    r.proc = subprocess.Popen(
        holder.enter("-n", "-m") + ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
                                    f"{tmp}/apptap", *map(str, args)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    return r


def test_by_sudo(sudoer, tmp):
    holder, _ = sudoer
    path = f"{tmp}/out/x.pcapng"
    with sending(holder, size=500):
        r = as_user(holder, tmp, "--uid", UID, "--local", "-o", path).ready()
        assert os.stat(path).st_uid == 54321
        time.sleep(0.5)  # traffic, not synchronisation
        assert r.end(signal.SIGINT) == 0, r.err
    said = int(re.search(r"([\d,]+) packets? \(", r.err)[1].replace(",", ""))
    assert said == packets(path) > 10


def test_by_sudo_the_count_is_exact(sudoer, tmp):
    holder, _ = sudoer
    with sending(holder):
        r = as_user(holder, tmp, "--uid", UID, "--local", "-o", f"{tmp}/out/x.pcap", "-c", 33)
        assert r.end() == 0, r.err
    assert packets(f"{tmp}/out/x.pcap") == 33


def test_by_sudo_a_killed_host_leaves_nothing(sudoer, tmp):
    holder, _ = sudoer
    r = as_user(holder, tmp, "--uid", UID, "--local", "-o", f"{tmp}/out/x.pcap").ready()
    below = [os.pidfd_open(p) for p in r.agents()]
    assert len(below) >= 2  # sudo and the agent
    r.end(signal.SIGKILL)
    assert gone_within(below, 1)


def test_by_sudo_full_disk(sudoer, tmp):
    holder, _ = sudoer
    holder.sh(f"mount -t tmpfs -o size=64k,uid=54321 none {tmp}/out", "-m", "-n")
    with sending(holder, size=1000):
        r = as_user(holder, tmp, "--uid", UID, "--local", "-o", f"{tmp}/out/x.pcap")
        assert r.end() == 1
    says(r.err, "No space left", "space")
    assert packets(f"/proc/{holder.proc.pid}/root{tmp}/out/x.pcap") > 20


# What is left behind


def test_a_killed_host_leaves_no_agent(net, tmp, traffic):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    agents = [os.pidfd_open(p) for p in r.agents()]
    assert len(agents) == 1
    r.end(signal.SIGKILL)
    assert gone_within(agents, 1)
    assert packets(f"{tmp}/x.pcap") >= 0  # and the file is whole, for the agent saw its host end


def test_a_killed_agent_is_told(net, tmp):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    for pid in r.agents():
        os.kill(pid, signal.SIGKILL)
    assert r.end() == 1
    says(r.err, "the agent ended before it was done")


def test_the_agent_keeps_few_rights(net, tmp):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    (agent,) = r.agents()
    with open(f"/proc/{agent}/status") as f:
        status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
    assert r.end(signal.SIGINT) == 0
    kept = {2, 12, 13, 19, 23}  # DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_NICE
    for name in ("CapEff", "CapPrm", "CapBnd"):
        bits = int(status[name], 16)
        assert {n for n in range(64) if bits >> n & 1} <= kept, name
    assert status["NoNewPrivs"] == "1"


def test_cleanup_ends_a_stuck_agent_and_leaves_a_live_one(net, tmp):
    os.mkfifo(f"{tmp}/in")
    hold = os.open(f"{tmp}/in", os.O_RDWR)
    # Its parent ends at once: the agent is left to init, with a stdin that never ends.
    stuck = int(subprocess.run(["sh", "-c", f"{APPTAP} --agent <{tmp}/in >/dev/null 2>&1 & echo $!"],
                               capture_output=True, text=True).stdout)
    fd = os.pidfd_open(stuck)
    live = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    code, out, _ = run(net, "--cleanup", "--local", "--json")
    assert code == 0
    got = json.loads(out)
    assert got["agents_ended"] >= 1 and got["agents_live"] >= 1
    assert gone_within([fd], 1)
    assert live.proc.poll() is None and live.end(signal.SIGINT) == 0
    os.close(hold)
    code, out, _ = run(net, "--cleanup", "--local")
    assert code == 0 and "agents without a host: none" in out
