"""test_library.py - libapptap as a program sees it that includes its header and links to it"""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import lab
import program
from program import UID, packets, sending
from program import net, tmp  # noqa: F401  fixtures

pytestmark = program.here
BUILD = os.path.abspath(lab.BUILD)
REPLAY = os.path.join(BUILD, "tests", "api", "replay-agent")


def api(net, name, *args, agent=lab.APPTAP, code=0, **env):
    """A program of tests/api, run as root in @net; its stdout."""
    done = subprocess.run(
        net.enter("-n") + [os.path.join(BUILD, "tests", "api", f"api-{name}"), *map(str, args)],
        capture_output=True, text=True, timeout=2 * lab.WAIT,
        env={**os.environ, "APPTAP_AGENT": os.path.abspath(agent), **env})
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("size", [64, 1500, 65535])
@pytest.mark.parametrize("how", ["callback", "read"])
def test_every_packet_is_delivered(net, how, size):
    """By an agent that makes them up: what comes out is what went in, to the last one."""
    n = 100000 if size == 64 else 2000
    got = json.loads(api(net, "rate", how, n, agent=REPLAY, REPLAY_PACKETS=str(n),
                         REPLAY_BYTES=str(size)))
    assert got["packets"] == got["kept"] == n


def test_a_file_by_the_library(net, tmp):
    got = json.loads(api(net, "rate", f"{tmp}/x.pcapng", 1000, agent=REPLAY))
    assert got["kept"] == packets(f"{tmp}/x.pcapng") == 1000


HEADERS = [os.path.join(lab.REPO, "include", "apptap", f"{name}.h")
           for name in ("apptap", "executor", "packet")]


@pytest.mark.parametrize("header", HEADERS, ids=os.path.basename)
@pytest.mark.parametrize("compiler", [
    ["cc", "-std=c99", "-pedantic", "-x", "c"], ["cc", "-std=c11", "-pedantic", "-x", "c"],
    ["g++", "-std=c++11", "-pedantic", "-x", "c++"], ["g++", "-std=c++20", "-pedantic", "-x", "c++"],
], ids=" ".join)
def test_a_header_compiles_alone(compiler, header):
    if not shutil.which(compiler[0]):
        pytest.skip(f"needs {compiler[0]}")
    done = subprocess.run([compiler[0], "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                           *compiler[1:], f"-I{lab.REPO}/include", header], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def exported():
    listed = subprocess.run(["nm", "-D", "--defined-only", os.path.join(BUILD, "libapptap.so")],
                            capture_output=True, text=True, check=True).stdout
    return sorted(line.split()[2] for line in listed.splitlines() if " T " in line)


def test_the_abi_is_the_one_that_was_promised(net):
    """What tests/api/abi-*.txt say was released: a difference is either a mistake or a new soname."""
    folder = os.path.join(lab.REPO, "tests", "api")
    with open(f"{folder}/abi-symbols.txt") as f:
        assert exported() == f.read().split()
    if sys.maxsize > 2**32:
        with open(f"{folder}/abi-lp64.txt") as f:
            assert api(net, "abi") == f.read()
    soname = subprocess.run(["readelf", "-d", os.path.join(BUILD, "libapptap.so")],
                            capture_output=True, text=True, check=True).stdout
    assert "[libapptap.so.0]" in soname


def test_every_function_is_documented():
    header = ""
    for path in HEADERS:
        with open(path) as f:
            header += f.read()
    with open(os.path.join(lab.REPO, "man", "libapptap.3")) as f:
        page = f.read()
    for symbol in exported():
        name = symbol.split("@")[0]
        assert re.search(rf"/\*\*\s*\*? ?{name}\(\) - ", header), name
        assert name in page, name
    for name in re.findall(r"^struct (apptap_\w+) \{", header, re.M):
        assert f"struct {name} - " in header, name


def left(text):
    return {k: v for k, v in json.loads(text).items() if v}


def agents():
    """PIDs of all that run the tests' agent, whoever started it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe") == REPLAY:
                found.append(pid)
        except OSError:
            pass
    return found


def test_nothing_is_left_of_a_thousand_sessions(net, tmp):
    assert left(api(net, "loop", f"{tmp}/x.pcap", 143, agent=REPLAY)) == {}
    assert agents() == []


# Seven sessions a round; 143 rounds are a thousand, on demand.
ROUNDS = "143" if os.environ.get("APPTAP_ALL") else "5"


def test_nothing_is_left_under_asan(net, tmp):
    program = os.path.join(lab.REPO, "build-asan", "tests", "api", "api-loop")
    if not os.path.exists(program):
        pytest.skip("needs build-asan: ./dev check unit")
    done = subprocess.run(net.enter("-n") + [program, f"{tmp}/x.pcap", "143"], capture_output=True,
                          text=True, timeout=2 * lab.WAIT, env={**os.environ, "APPTAP_AGENT": REPLAY})
    assert done.returncode == 0, done.stderr
    assert left(done.stdout) == {}


def test_nothing_is_left_under_valgrind(net, tmp):
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind")
    done = subprocess.run(
        net.enter("-n") + ["valgrind", "-q", "--leak-check=full", "--error-exitcode=9",
                           os.path.join(BUILD, "tests", "api", "api-loop"), f"{tmp}/x.pcap", ROUNDS],
        capture_output=True, text=True, timeout=10 * lab.WAIT, env={**os.environ, "APPTAP_AGENT": REPLAY})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and left(done.stdout) == {}


def test_an_agent_that_dies_is_told(net, tmp):
    """The file holds what came until then, whole, and the library says what happened."""
    out = api(net, "rate", f"{tmp}/x.pcap", 100000, agent=REPLAY, code=1, REPLAY_PACKETS="100000",
              REPLAY_DIE="50000")
    assert out == ""
    assert 0 <= packets(f"{tmp}/x.pcap") < 100000


def test_a_tier_that_does_not_open_is_told(net, tmp):
    api(net, "rate", f"{tmp}/x.pcap", 1, agent=REPLAY, code=1, REPLAY_REFUSE="1")
    assert not os.path.exists(f"{tmp}/x.pcap")


def example(net, name, *args, **env):
    return subprocess.run(
        net.enter("-n") + [os.path.join(BUILD, "examples", f"example-{name}"), *map(str, args)],
        capture_output=True, text=True, timeout=lab.WAIT,
        env={**os.environ, "APPTAP_AGENT": os.path.abspath(lab.APPTAP), **env})


def test_example_capture_child(net, tmp):
    with sending(net):  # another user, all the while
        done = example(net, "capture_child", f"{tmp}/x.pcapng", "sh", "-c",
                       "ping -c2 -i0.1 127.0.0.1 >/dev/null; exit 7")
    assert done.returncode == 7, done.stderr
    assert packets(f"{tmp}/x.pcapng") == 4
    assert "168 bytes out, 168 in" in done.stderr
    done = example(net, "capture_child", f"{tmp}/y.pcap", "no-such-program")
    assert done.returncode == 1 and "no-such-program" in done.stderr
    assert not os.path.exists(f"{tmp}/y.pcap")


def test_example_live_connections(net):
    with sending(net) as app:
        done = example(net, "live_connections", app.pid, 1)
    assert done.returncode == 0, done.stderr
    assert f"process {app.pid}" in done.stderr
    assert len(re.findall(r"^begins   17  127\.0\.0\.1", done.stdout, re.M)) == 1


@pytest.mark.parametrize("how", [[], ["spool"]], ids=["stream", "start"])
def test_example_own_transport(net, tmp, how):
    agents_dir = os.path.join(BUILD, "agents")
    if not os.path.exists(os.path.join(agents_dir, f"apptap-{os.uname().machine}")):
        pytest.skip("needs the agent: ./dev agents")
    with sending(net, uid=1):
        for who in (UID, "daemon"):
            done = example(net, "own_transport", "env LANG=C", who, f"{tmp}/x.pcap", "0.3", *how,
                           APPTAP_AGENTS=agents_dir)
            if who == UID:  # has no name here, and the number is none either: that is said
                assert done.returncode == 1 and str(UID) in done.stderr
    assert done.returncode == 0, done.stderr
    assert f"{packets(f'{tmp}/x.pcap')} packets of daemon" in done.stdout
    assert not done.stdout.startswith("0 packets")


def test_installed_it_is_found_by_pkg_config(tmp):
    """meson install, then an example built against that alone, shared and static."""
    root = f"{tmp}/root"
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True,
                   capture_output=True)
    found = {os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs}
    for ending in (*(f"include/apptap/{os.path.basename(h)}" for h in HEADERS), "/libapptap.so.0",
                   "/libapptap.a", "bin/apptap", "pkgconfig/apptap.pc", "man3/libapptap.3", "man1/apptap.1"):
        assert any(f.endswith(ending) for f in found), (ending, found)
    pc = os.path.dirname(next(f for f in found if f.endswith(".pc")))
    env = {**os.environ, "PKG_CONFIG_PATH": os.path.join(root, pc), "PKG_CONFIG_SYSROOT_DIR": root}
    lib = os.path.dirname(os.path.join(root, pc))
    for kind in ([], ["--static"]):
        flags = subprocess.run(["pkg-config", *kind, "--cflags", "--libs", "apptap"], env=env,
                               check=True, capture_output=True, text=True).stdout.split()
        if kind:
            flags = [f"{lib}/libapptap.a" if f == "-lapptap" else f for f in flags]
        source = os.path.join(lab.REPO, "examples", "live_connections.c")
        done = subprocess.run(["cc", source, *flags, "-o", f"{tmp}/x"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        done = subprocess.run([f"{tmp}/x"], env={**env, "LD_LIBRARY_PATH": lib}, capture_output=True,
                              text=True)
        assert done.returncode == 2 and done.stderr.startswith("usage: live_connections")
