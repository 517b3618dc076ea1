"""A target that wants to harm its host: an agent of its own, pushed and started over a real ssh. What
it sends neither hangs the host, nor fills its memory, nor reaches the terminal raw."""
import json
import os
import resource
import signal
import subprocess
import time

import pytest

import lab
from test_ssh import server  # noqa: F401  a fixture
from phone import until

AGENT = r"""#!/usr/bin/python3
import json, struct, sys, time
if "--version" in sys.argv:
    sys.exit(0)

def send(kind, body, flags=0):
    sys.stdout.buffer.write(struct.pack("<IHH", len(body), kind, flags) + body)
    sys.stdout.flush()

def event(**kw):
    send(3, json.dumps(kw).encode())

def hello(program):
    send(1, b"ATAP" + struct.pack("<HHIQ", 2, 0, 1, 0) + program.ljust(32, b"\0"))

def ready():
    event(type="ready", tier="bpf", linktype=276, uids=[{"uid": 5001, "why": "asked for"}])

def until_told(what):
    while True:
        header = sys.stdin.buffer.read(8)
        if not header:
            sys.exit(1)
        if json.loads(sys.stdin.buffer.read(struct.unpack("<I", header[:4])[0]))["type"] == what:
            return

def greet(program=b"0.1.0"):
    hello(program)
    sys.stdin.buffer.read(8 + 52)	# the host's own
    until_told("clock")
    event(type="clock", realtime_ns=2**63 - 1)

def begin():
    greet()
    until_told("start")
    ready()

COUNTERS = dict.fromkeys("elapsed_ms packets bytes connections seen kept kept_bytes foreign not_ip "
                         "unattributed held dropped_kernel lookups".split(), 0)

def status():
    event(type="status", **COUNTERS)

"""

PCAP = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000014010000")

NEVER_GREETS = """
sys.stdout.buffer.write(struct.pack('<IHH', 1 << 20, 1, 0))
while True:
    sys.stdout.write(chr(0))
    sys.stdout.flush()
    time.sleep(0.2)
"""

DEAF = f"""
begin()
send(5, {PCAP!r}, 1)
send(5, b"half a record")
while True:
    status()
    time.sleep(0.1)
"""

CHATTERS = f"""
import threading
def chatter():
    while True:
        sys.stderr.write("chatter " * 500 + chr(10))
threading.Thread(target=chatter, daemon=True).start()
begin()
send(5, {PCAP!r}, 1)
until_told("stop")
event(type="done", reason="stopped", connections_listed=0, stream_bytes={len(PCAP)},
      error=dict(failure="none"), counters=COUNTERS)
"""

ENDLESS_CONNECTIONS = """
begin()
while True:
    send(4, (bytes(37) + b"\\x04" + bytes(74)) * 9000)
"""

ENDLESS_APPS = """
greet()
while True:
    event(type="apps", last=False, apps=[{"name": "a" * 200, "uid": 1}] * 32)
"""

ESCAPES = """
greet(b"\\x1b[2J")
sys.stderr.buffer.write("\\x1b]0;owned\\x07\\x9b31m\\u202e\\n".encode())
sys.stderr.flush()
time.sleep(0.5)
event(type="warning", text="\\x1b[31mwarning\\n\\rapptap: forged")
event(type="error", failure="other", msg="\\x1b[2Jmessage\\u009b31m", hint="\\x1b]0;hint\\x07")
"""

HUGE_FRAME = """
greet()
sys.stdout.buffer.write(struct.pack("<IHH", 2**32 - 1, 5, 0))
sys.stdout.flush()
time.sleep(100)
"""


@pytest.fixture
def hostile(server, tmp_path):  # noqa: F811
    """Makes what is pushed the agent whose lines are given; returns the server."""
    def make(lines):
        agent = tmp_path / "apptap-x86_64"
        agent.write_text(AGENT + lines)
        agent.chmod(0o755)
        server.env["APPTAP_AGENTS"] = str(tmp_path)
        return server
    yield make
    server.env["APPTAP_AGENTS"] = os.environ.get("APPTAP_AGENTS", "")


def capture(server, path, *options):  # noqa: F811
    return server.capture("--uid", "5001", "--ssh", "root@box", *options, output=str(path))


def bounded(argv, env, mib=256):
    def limit():
        lab.die_with_parent()
        resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))
    return subprocess.run(argv, env=env, capture_output=True, text=True, errors="replace",
                          timeout=lab.WAIT, check=False, preexec_fn=limit)


def test_ctrl_c_twice_gives_up_an_agent_that_never_greets(hostile, tmp_path):
    c = capture(hostile(NEVER_GREETS), tmp_path / "x.pcap")
    time.sleep(3)
    c.proc.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert c.stop(10) == 1, c.talk
    assert not (tmp_path / "x.pcap").exists()


def test_ctrl_c_twice_gives_up_an_agent_that_does_not_stop(hostile, tmp_path):
    path = tmp_path / "x.pcap"
    c = capture(hostile(DEAF), path).wait_ready()
    assert until(lambda: path.stat().st_size > len(PCAP)) is not None
    c.proc.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert c.proc.poll() is None
    assert c.stop(10) == 1 and "given up" in " ".join(c.talk), c.talk
    assert path.read_bytes() == PCAP	# up to the last whole record


def test_an_agent_that_chatters_without_end_does_not_hang_its_host(hostile, tmp_path):
    path = tmp_path / "x.pcap"
    c = capture(hostile(CHATTERS), path).wait_ready()
    assert c.stop(10) == 0, c.talk
    assert path.read_bytes() == PCAP


def test_endless_connections_are_refused(hostile, tmp_path):
    s = hostile(ENDLESS_CONNECTIONS)
    got = bounded([lab.APPTAP, "--uid", "5001", "--ssh", "root@box", "-o", str(tmp_path / "x.pcap")], s.env)
    assert got.returncode == 1 and "more connections" in got.stderr, got.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_endless_apps_are_refused(hostile, options):
    s = hostile(ENDLESS_APPS)
    got = bounded([lab.APPTAP, "--list", "--ssh", "root@box", *options], s.env)
    assert got.returncode == 1 and "more apps" in got.stderr, got.stderr


def test_nothing_of_it_reaches_the_terminal_raw(hostile, tmp_path):
    s = hostile(ESCAPES)
    got = s.run("--uid", "5001", "--ssh", "root@box", "-v", "-o", str(tmp_path / "x.pcap"))
    assert got.returncode == 1 and "message" in got.stderr and "owned" in got.stderr, got.stderr
    assert not set(got.stderr) & set("\x1b\x07\r\x9b\u202e"), got.stderr
    assert not any(line.startswith("apptap: forged") for line in got.stderr.splitlines())


def test_a_frame_of_an_insane_length_is_refused_at_once(hostile, tmp_path):
    s = hostile(HUGE_FRAME)
    got = bounded([lab.APPTAP, "--uid", "5001", "--ssh", "root@box", "-o", str(tmp_path / "x.pcap")], s.env)
    assert got.returncode == 1 and "a frame of 4294967295 bytes" in got.stderr, got.stderr
