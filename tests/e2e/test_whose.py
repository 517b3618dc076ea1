"""test_whose.py - each packet says whose it was: in the file, in JSON, on the terminal, by the library

The tier bpf knows the process that made a packet's socket, and its command: what somebody has named it.
"""
import json
import os
import subprocess
import sys

import pytest

import lab
import program
from program import net, run, tmp  # noqa: F401  fixtures
from test_library import api
from test_python import user

pytestmark = program.here
HTTP = """
import http.server, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
s = http.server.HTTPServer(("127.0.0.1", 0), Quiet); print(s.server_port, flush=True); s.serve_forever()
"""
# Names itself, and sends itself a word.
NAMED = """
import ctypes, os, socket, sys
name = bytes.fromhex(sys.argv[1])
ctypes.CDLL(None).prctl(15, ctypes.c_char_p(name), 0, 0, 0)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0)); s.connect(s.getsockname()); s.send(b"word"); s.recv(10)
"""
# What a process may be called, and what is told of it.
NAMES = {
    b'a"b\\c': 'a"b\\c',
    b"\x1b[2J\r\nx": "?[2J??x",
    b"\xff\xe2\x82 \xc3\xa4": "??? ä",
    "\u202egnp.exe".encode(): "?gnp.exe",
    b"x uid 0 pid 1 y": "x uid 0 pid 1 y",
}


@pytest.fixture(autouse=True)
def works():
    if "bpf" not in os.environ.get("APPTAP_TIERS", "bpf").split(","):
        pytest.skip("the tier bpf is not among APPTAP_TIERS")


@pytest.fixture
def url(net, tmp):
    with open(f"{tmp}/page", "w") as f:
        f.write("of the server")
    with subprocess.Popen(net.enter("-n") + [sys.executable, "-c", HTTP], cwd=tmp, text=True,
                          stdout=subprocess.PIPE) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/page"
        server.kill()


def comments(path, *options):
    done = subprocess.run(["tshark", "-n", "-r", path, *options, "-T", "fields", "-e", "frame.comment"],
                          capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_command_by_its_name(net, tmp, url):
    path = f"{tmp}/x.pcapng"
    code, out, err = run(net, "-o", path, "--json", "--", "curl", "-s", "-o", "/dev/null", url)
    assert code == 0, err
    c, = json.loads(out)["connections"]
    told = comments(path, "-Y", 'frame.comment contains "curl"')
    assert set(told) == {f"uid 0 pid {c['pid']} curl"} and c["command"] == "curl"
    assert len(told) == program.packets(path) >= 8
    assert comments(path, "-Y", 'frame.comment contains "python"') == []


def test_a_server_that_was_there_before(net, tmp, url):
    """By its UID; it had its socket before the capture began, and its packets say so from the SYN on."""
    path = f"{tmp}/x.pcapng"
    r = program.Run(net, "--uid", 0, "--local", "-o", path).ready()
    subprocess.run(net.enter("-n") + ["setpriv", "--reuid", "5002", "--clear-groups", "curl", "-s", url],
                   check=True, stdout=subprocess.DEVNULL)
    assert r.end(2) == 0, r.err
    told = comments(path)
    assert len(set(told)) == 1 and len(told) >= 8 and told[0].startswith("uid 0 pid "), told
    assert f"/{told[0].split()[3]}" in r.err	# in the table of connections, too


@pytest.mark.parametrize("name", NAMES, ids=lambda n: n.hex())
def test_a_name_is_told_harmlessly(net, tmp, name):
    path, told = f"{tmp}/x.pcapng", NAMES[name]
    r = program.Run(net, "-o", path, "-v", "--json", "--",
                    sys.executable, "-c", NAMED, name.hex())
    assert r.end() == 0, r.err
    c, = json.loads(r.out.decode("utf-8"))["connections"]
    assert c["command"] == told
    assert comments(path) == [f"uid 0 pid {c['pid']} {told}"]
    assert f"{told}/{c['pid']}" in r.err
    assert not {ch for ch in r.err if ord(ch) < 0x20} - {"\n"}


def test_the_callback_in_c(net, url):
    lines = api(net, "whose", "curl", "-s", "-o", "/dev/null", url).splitlines()
    *packets, connection = lines
    pid = connection.split()[1]
    assert connection == f"connection {pid} curl"
    assert set(packets) == {f"0 {pid} curl"} and len(packets) >= 8


def test_packets_and_connections_in_python(net, url):
    found = user(net, """
        target = apptap.Target(command=["curl", "-s", "-o", "/dev/null", sys.argv[1]])
        with apptap.CaptureSession(target, here, None, packets=True) as s:
            s.start()
            packets = sorted({(p.uid, p.pid, p.command) for p in s.packets()})
        c, = s.result.connections
        print(json.dumps([packets, c.pid, c.command]))
        """, url)
    (packet,), pid, command = found
    assert packet == [0, pid, "curl"] and command == "curl" and pid > 0
