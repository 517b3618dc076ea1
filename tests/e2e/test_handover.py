"""A port passes from user to user while the agent is held up: what the one got is not the other's.

The agent is stopped for that time, as a busy machine may do to it: when it asks the kernel whose the
port is, the answer is about the next owner.
"""
import os
import signal
import sys
import time

import pytest

import truth
from conftest import tiers
from processes import agent_of

pytestmark = pytest.mark.usefixtures("need_apptap")
PORT = 40500
# It looks at the packets afterwards, by the owners that it had noted: none, while it is held up. What
# a stranger sent from the port before the app had it was kept in one scene (and_sends).
NOT_THROUGH = ("sockdiag",)

# Does what it is told, a line each: open KIND UID PORT, send, get, accept, close; answers "ok".
ACTOR = """
import os, socket, sys
far = ("10.77.0.2", 40501)
s = c = None
for line in sys.stdin:
    verb, *args = line.split()
    if verb == "open":
        os.seteuid(int(args[1]))
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if args[0] == "udp" else socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, args[0] == "tcp")
        os.seteuid(0)
        s.bind(("10.77.0.1", int(args[2])))
        s.settimeout(20)
        if args[0] == "tcp":
            s.listen()
    elif verb == "send":
        s.sendto(args[0].encode(), far)
    elif verb == "get":
        assert s.recv(100) == args[0].encode()
    elif verb == "accept":
        c, _ = s.accept()
    elif verb == "close":
        s.close()
        s = None
    print("ok", flush=True)
"""
# The far end: sends what it is told to from a port of its own, or makes a connection.
FAR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.2", 40501))
for line in sys.stdin:
    verb, *args = line.split()
    if verb == "tell":
        s.sendto(args[0].encode(), ("10.77.0.1", int(args[1])))
    elif verb == "connect":
        c = socket.create_connection(("10.77.0.1", int(args[0])), source_address=("10.77.0.2", 40502))
    print("ok", flush=True)
"""


class Scene:
    """The app and the stranger in one process, so that a step follows the other at once; the far end."""

    def __init__(self, lab, tool):
        self.tool = tool
        self.actor = lab.program("app", sys.executable, "-c", ACTOR)
        self.far = lab.program("srv", sys.executable, "-c", FAR)

    def play(self, script):
        for step in script.split(";"):
            verb, *args = step.split()
            if verb in ("hold", "release"):
                self.hold(verb == "hold")
                continue
            args = [{"app": str(truth.APP_UID), "stranger": str(truth.BYSTANDER_UID)}.get(a, a) for a in args]
            program = self.far if verb in ("tell", "connect") else self.actor
            program.say(" ".join([verb, *args]))
            assert program.line() == "ok"

    def hold(self, on):
        if on:
            time.sleep(0.15)    # what came before has been read and asked about
        os.kill(agent_of(self.tool), signal.SIGSTOP if on else signal.SIGCONT)
        if not on:
            time.sleep(0.15)


# What was the app's ends in an a, a stranger's in an s.
SCENES = {
    "first_datagram": f"""hold; open udp stranger {PORT}; tell 1s {PORT}; get 1s; close;
        open udp app {PORT}; release; tell 2a {PORT}; get 2a""",
    "on_a_flow_of_the_apps": f"""open udp app {PORT}; send 1a; tell 2a {PORT}; get 2a; close; hold;
        open udp stranger {PORT}; tell 3s {PORT}; get 3s; close; release""",
    "on_a_flow_of_the_apps_again": f"""open udp app {PORT}; send 1a; tell 2a {PORT}; get 2a; close; hold;
        open udp stranger {PORT}; tell 3s {PORT}; get 3s; close; open udp app {PORT}; release;
        tell 4a {PORT}; get 4a; send 5a""",
    "all_while_held": f"""hold; open udp app {PORT}; send 1a; tell 2a {PORT}; get 2a; close;
        open udp stranger {PORT}; tell 3s {PORT}; get 3s; close; open udp app {PORT}; release;
        send 4a; tell 5a {PORT}; get 5a""",
    "instead_of_an_answer": f"""open udp app {PORT}; send 1a; close; hold;
        open udp stranger {PORT}; tell 2s {PORT}; get 2s; close; release; open udp app {PORT}; send 3a""",
    "instead_of_an_answer_while_held": f"""hold; open udp app {PORT}; send 1a; close;
        open udp stranger {PORT}; tell 2s {PORT}; get 2s; close; release; open udp app {PORT}; send 3a""",
    "another_in_its_queue": f"""open udp app {PORT}; send 1a; close; hold;
        open udp stranger {PORT}; tell 2s {PORT}; get 2s; close; open udp app {PORT}; tell 3a {PORT}; release;
        get 3a; send 4a""",
    "and_sends": f"""open udp app {PORT}; send 1a; tell 2a {PORT}; get 2a; close; hold;
        open udp stranger {PORT}; tell 3s {PORT}; get 3s; send 4s; close; open udp app {PORT}; release;
        send 5a; tell 6a {PORT}; get 6a""",
}
# What is told for certain, however late: the app's own, and answers to a socket that is there still.
CERTAIN = {
    "first_datagram": {b"2a"}, "on_a_flow_of_the_apps": {b"1a", b"2a"},
    "on_a_flow_of_the_apps_again": {b"1a", b"2a", b"4a", b"5a"}, "all_while_held": {b"4a", b"5a"},
    "instead_of_an_answer": {b"1a", b"3a"}, "instead_of_an_answer_while_held": {b"1a", b"3a"},
    "another_in_its_queue": {b"1a", b"3a", b"4a"}, "and_sends": {b"1a", b"2a", b"5a", b"6a"},
}


def payloads(lab, tool):
    found = set()
    for _, pkt in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap"))):
        if pkt and pkt[9] == truth.UDP and PORT in truth.ports(pkt):
            found.add(bytes(pkt[28:30]))
    return found


def pytest_generate_tests(metafunc):
    """nflog by each program that makes its rules; conftest.py has the tiers."""
    rules = {"nflog": ("nftables", "iptables")}
    metafunc.parametrize("tier, rules", [(tier, r) for tier in tiers() if tier not in NOT_THROUGH
                                         for r in rules.get(tier, ("none",))])


@pytest.fixture(autouse=True)
def chosen(rules, monkeypatch):
    monkeypatch.setenv("APPTAP_RULES", rules)


@pytest.mark.parametrize("scene", SCENES)
def test_datagrams(lab, tier, scene):
    tool = lab.apptap(tier=tier).wait_ready()
    Scene(lab, tool).play(SCENES[scene])
    time.sleep(0.05)
    assert tool.stop() == 0, tool.talk
    found = payloads(lab, tool)
    assert not {p for p in found if p.endswith(b"s")}, (found, tool.json()["counters"])
    if tier == "nflog":
        assert found >= CERTAIN[scene], (found, tool.json()["counters"])


def test_connection(lab, tier):
    """A stranger listens and gets a connection; then the app listens on that port."""
    tool = lab.apptap(tier=tier).wait_ready()
    scene = Scene(lab, tool)
    scene.play(f"hold; open tcp stranger {PORT}; connect {PORT}; accept; close; open tcp app {PORT}; release")
    time.sleep(0.2)    # the listener is asked for as long as somebody might accept it
    assert tool.stop() == 0, tool.talk
    leaked = [truth.words(ts, p) for ts, p in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap")))
              if p and PORT in truth.ports(p)]
    assert not leaked, (leaked, tool.json()["counters"])
