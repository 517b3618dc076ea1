"""program.py - the program run as its user runs it, with traffic of a UID, in namespaces of its own

Every run is in a network namespace that a process holds, so that nothing stays when a test dies. UID
5001 sends datagrams to itself over lo; what it sends is told by its payload.
"""
import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

import lab
import processes

APPTAP = lab.APPTAP
UID = 5001
WAIT = lab.WAIT

here = [
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
    if float(sys.argv[2]): time.sleep(float(sys.argv[2]))
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
        return processes.descendants(self.proc.pid)

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


def gone_within(pids, seconds):
    """Whether all of @pids (pidfds) end in time, as far as this machine can tell (pace.py)."""
    begin = time.monotonic()
    for fd in pids:
        if not select.select([fd], [], [], max(begin + WAIT - time.monotonic(), 0))[0]:
            return False
    return lab.in_time(time.monotonic() - begin, seconds)


def run(net, *args, **kw):
    """A whole run: exit code, stdout, stderr."""
    r = Run(net, *args, **kw)
    code = r.end()
    return code, (r.out or b"").decode(), r.err


def grown(path, size):
    """Waits until the file has so many bytes."""
    end = time.monotonic() + WAIT
    while os.path.getsize(path) < size:
        assert time.monotonic() < end, f"{path} does not grow"
        time.sleep(0.01)


def packets(path):
    """How many packets Wireshark's library reads; it complains (and this fails) when the file is cut
    short. By capinfos: tshark needs half a second of CPU for that, a hundred times a run."""
    done = subprocess.run(["capinfos", "-TrMc", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr
    return int(done.stdout.rpartition("\t")[2])


def says(err, message, hint=None):
    """stderr ends with one message, and one hint below it."""
    lines = err.splitlines()
    assert any(line.startswith("apptap: ") and message in line for line in lines), err
    if hint is not None:
        assert lines[-1].startswith("try: ") and hint in lines[-1], err
