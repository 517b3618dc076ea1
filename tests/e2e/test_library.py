"""test_library.py - libapptap as a program sees it that includes its header and links to it"""
import json
import os
import subprocess

import pytest

import lab
import program
from program import packets
from program import net, tmp  # noqa: F401  fixtures

pytestmark = program.here
BUILD = os.path.abspath(lab.BUILD)
REPLAY = os.path.join(BUILD, "tests", "api", "replay-agent")


def api(net, name, *args, agent=lab.APPTAP, code=0, **env):
    """A program of tests/api, run as root in @net; its stdout."""
    done = subprocess.run(
        net.enter("-n") + [os.path.join(BUILD, "tests", "api", f"api-{name}"), *map(str, args)],
        capture_output=True, text=True, timeout=60,
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
