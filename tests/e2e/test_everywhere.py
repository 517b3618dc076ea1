"""test_everywhere.py - what holds wherever the agent runs: here, on a phone over adb, there without a
byte stream (a tool's own plumbing round adb), and on a Linux machine over ssh"""
import contextlib
import glob
import json
import os
import select
import sys

import pytest

import lab
import phone as phone_module
import program
import test_ssh
from program import packets
from program import tmp  # noqa: F401  a fixture
from pyuser import BUILD, ENV, PLUMBING, PREAMBLE

pytestmark = program.here
UID = 20000 + os.getpid() % 10000  # nobody else's on this machine, where others may run tests too
EVERYWHERE = ["here", "adb", "spooled", "ssh"]
# At each word: 20 datagrams and one TCP connection to itself, both to their end.
TALKER = """
import os, socket, sys
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
server = socket.create_server(("127.0.0.1", 0))
print("here", flush=True)
for word in sys.stdin:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0)); s.connect(s.getsockname())
        for _ in range(20):
            s.send(b"of the app"); s.recv(100)
    with socket.create_connection(server.getsockname()) as c:
        with server.accept()[0] as other:
            c.send(b"of the app"); other.recv(100); c.close(); other.recv(100)
    print("talked", flush=True)
"""


LONG = 60  # seconds until a step counts as stuck: a start by ssh is many processes


class Place:
    """Where the app runs, and how a script and a C program name that."""

    def __init__(self, executor, words=(), env=(), prefix=()):
        self.executor, self.words, self.env, self.prefix = executor, list(words), dict(env), prefix
        self.phone = None

    def waiting(self):
        """Bytes of frames that lie on the phone."""
        outs = glob.glob(f"{phone_module.WORK}/dev/{self.phone.name}/root/data/local/.apptap/*/out")
        with contextlib.suppress(OSError):
            return sum(os.stat(out).st_blocks * 512 for out in outs)
        return 0

    def talker(self, uid):
        p = lab.Program([*self.prefix, str(uid), "/usr/bin/python3", "-c", TALKER, str(uid)]
                        if self.prefix else [sys.executable, "-c", TALKER, str(uid)])
        assert p.line() == "here"
        return p

    def script(self, script, *args):
        """A user's script that runs beside the test; `executor` leads to this place."""
        text = f"{PREAMBLE}{PLUMBING}\napp = apptap.Target(uids=[{UID}])\nexecutor = {self.executor}\n"
        return lab.Program([sys.executable, "-c", text + script, *map(str, args)],
                           env={**ENV, **self.env})


@pytest.fixture(scope="module")
def phone():
    if phone_module.why_not():
        pytest.skip(phone_module.why_not())
    with phone_module.Phone() as p:
        yield p


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if test_ssh.why_not():
        pytest.skip(test_ssh.why_not())
    s = test_ssh.Server(tmp_path_factory.mktemp("ssh"))
    yield s
    s.stop()


@pytest.fixture(params=EVERYWHERE)
def place(request):
    if request.param == "here":
        return Place("here")
    if request.param == "ssh":
        env = request.getfixturevalue("server").env
        return Place("apptap.SshExecutor('root@box')", ["ssh", "root@box"],
                     {k: env[k] for k in ("APPTAP_AGENTS", "PATH")})
    phone = request.getfixturevalue("phone")
    how = "apptap.AdbExecutor" if request.param == "adb" else "Plumbing"
    found = Place(f"{how}({phone.serial!r})", ["device", phone.serial],
                  {k: phone.env[k] for k in ("APPTAP_AGENTS", "ANDROID_ADB_SERVER_PORT")},
                  phone.script("app"))
    found.phone = phone
    return found


@contextlib.contextmanager
def running(*programs):
    try:
        yield
    finally:
        for p in programs:
            p.kill()


LIVE = """
s = apptap.CaptureSession(app, executor, None, packets=True, connections=True)
s.start()
print("ready", flush=True)
found = s.packets()
got = [next(found)]
print("first", flush=True)
sys.stdin.readline()
s.interrupt()
got += found
events = list(s.connections())
r = s.stop()
udp = [p for p in got if p.data[p.network + 9] == 17]
print(json.dumps([len(got), [p.data[p.network + 28:].decode() for p in udp],
                  sorted({p.uid for p in got}), sorted({p.interface for p in got}),
                  [[e.connection.protocol, e.closed] for e in events],
                  r.counters.kept, r.pcap_path]), flush=True)
"""


def test_live_packets_and_connections(place):
    """They come while the capture runs, all of them, and of nobody else."""
    script, talker, other = place.script(LIVE), place.talker(UID), place.talker(UID + 1)
    with running(script, talker, other):
        assert script.line(LONG) == "ready"
        for p in (other, talker, other):
            p.say("go")
            assert p.line() == "talked"
        assert script.line() == "first"  # and nothing has ended yet
        script.say("end")
        count, texts, uids, interfaces, events, kept, path = json.loads(script.line(LONG))
        assert script.finish() == 0
    assert texts == ["of the app"] * 20 and uids == [UID] and interfaces == ["lo"]
    assert count == kept > 26 and path is None
    assert events[:2] == [["udp", False], ["tcp", False]]
    assert sorted(events[2:]) == [["tcp", True], ["udp", True]]


FLOOD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0)); s.connect(s.getsockname())
print("here", flush=True)
sys.stdin.readline()
for _ in range(400):
    s.send(b"x" * 50000); s.recv(65536)
print("talked", flush=True)
"""
SLOW = """
s = apptap.CaptureSession(app, executor, None, packets=True)
s.start()
print("ready", flush=True)
sys.stdin.readline()
s.interrupt()
print(sum(len(b) for b in s.packet_batches()), flush=True)
print(s.stop().counters.kept, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("place", ["spooled"], indirect=True)
def test_what_waits_for_a_slow_transport_is_bounded(place):
    """20 MB at once, through exchanges: at most 8 MiB lie on the phone at a time, and all arrive."""
    script = place.script(SLOW)
    flood = lab.Program([*place.prefix, str(UID), "/usr/bin/python3", "-c", FLOOD])
    with running(script, flood):
        assert script.line(LONG) == "ready" and flood.line() == "here"
        flood.say("go")
        assert flood.line() == "talked"
        script.say("end")
        peak = 0
        while not select.select([script.proc.stdout], [], [], 0.01)[0] and script.proc.poll() is None:
            peak = max(peak, place.waiting())
        got, kept = int(script.line(LONG)), int(script.line())
        assert got == kept > 180  # the kernel may have dropped the rest meanwhile, and counted it
        assert peak < 10 << 20, peak
        assert not place.phone.leftovers()  # at once, and the script still runs


@pytest.mark.parametrize("place", ["here", "adb", "ssh"], indirect=True)
def test_a_packet_callback(place):
    """The same through C, whose own transports test_library.py has."""
    rate = lab.Program([os.path.join(BUILD, "tests", "api", "api-rate"), "callback", "20", str(UID),
                        *place.words], env={**ENV, **place.env})
    talker = place.talker(UID)
    with running(rate, talker):
        assert rate.line(LONG) == "ready"
        talker.say("go")
        assert talker.line() == "talked"
        assert json.loads(rate.line())["packets"] == 20
        assert rate.finish() == 0


SILENT = """
s = apptap.CaptureSession(app, executor, None, connections=True)
s.start()
print("ready", flush=True)
events = s.connections()
for _ in range(4):
    e = next(events)
    print(json.dumps([e.connection.protocol, e.closed, e.connection.packets_out + e.connection.packets_in]), flush=True)
s.stop()
"""


if os.environ.get("APPTAP_ALL"):  # it takes a minute each: else unit/test_conn.c has to do
    def test_a_silent_flow_is_closed(place):
        script, talker = place.script(SILENT), place.talker(UID)
        with running(script, talker):
            assert script.line() == "ready"
            talker.say("go")
            got = [json.loads(script.line(timeout=2 * lab.WAIT)) for _ in range(4)]
        assert got[3] == ["udp", True, 20], got


KEPT = """
path = sys.argv[1]
for bad in (dict(target=apptap.Target(package="no.such.app.here")), dict(interfaces=["nosuch0"])):
    s = apptap.CaptureSession(**{"target": app, "executor": executor, "output": path, **bad})
    try:
        s.start()
        print("started", flush=True)
    except apptap.AppTapError:
        pass
    s.teardown()
with open(path) as f:
    print(f.read(), flush=True)
with apptap.CaptureSession(app, executor, path) as s:
    s.start()
    print("ready", flush=True)
    sys.stdin.readline()
print(s.result.counters.kept, flush=True)
"""


def test_what_was_there_stays_until_a_capture_begins(place, tmp):
    """Through failed starts; then it is the same file that gets the capture, under all its names."""
    path = f"{tmp}/x.pcap"
    with open(path, "w") as f:
        f.write("precious" * 10000)
    os.chmod(path, 0o640)
    os.link(path, f"{tmp}/second")
    script, talker = place.script(KEPT, path), place.talker(UID)
    with running(script, talker):
        assert script.line(LONG) == "precious" * 10000
        assert script.line(LONG) == "ready"
        talker.say("go")
        assert talker.line() == "talked"
        script.say("end")
        kept = int(script.line(LONG))
        assert script.finish() == 0
    assert packets(path) == packets(f"{tmp}/second") == kept > 26
    assert os.stat(path).st_mode & 0o777 == 0o640
    with open(path, "rb") as f:
        assert b"precious" not in f.read()
