"""The tier nflog when its rules see nothing any more, though nobody has touched them: it says so, and the
next tier goes on in the same file. And an app that is quiet by itself, which is no reason to say anything."""
import re
import sys
import time

import pytest

import truth
from test_nflog import choose, inside

pytestmark = pytest.mark.usefixtures("need_apptap")
PORT = 7400
# A user who talks TCP to an echo, or to himself where @source says the same address as @to.
TALK = """
import os, socket, sys, time
uid, source, to, every, lasts = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
listener = socket.create_server((to, 0)) if to == source else None
port = listener.getsockname()[1] if listener else int(sys.argv[6])
os.setgid(uid); os.setuid(uid)
def connect():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.connect((to, port))
    return s, listener.accept()[0] if listener else None
s, other = connect()
print("there", flush=True)
sys.stdin.readline()
said = 0
while every:
    try:
        if said and lasts and said % lasts == 0:
            s.close()
            s, other = connect()
        s.send(b"x" * 100)
        said += 1
        if other:
            other.send(other.recv(100))
        s.settimeout(1)
        s.recv(100)
    except OSError:
        pass
    time.sleep(every)
sys.stdin.readline()
"""
ECHO = """
import asyncio
async def echo(reader, writer):
    try:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "10.77.0.2", %d)
    print("there", flush=True)
    await server.serve_forever()
asyncio.run(main())
""" % PORT


@pytest.fixture
def echo(lab):
    lab.program("srv", sys.executable, "-c", ECHO).line()


@pytest.fixture
def clean(lab):
    """No rule of this test outlives it."""
    yield
    inside(lab, "nft", "flush", "ruleset")
    inside(lab, "sysctl", "-qw", "net.ipv4.tcp_early_demux=1")


def talker(lab, uid, *, source="", to="10.77.0.2", every=0.05, lasts=0):
    """@lasts: so many words, then a new connection; 0: one for all."""
    p = lab.program("app", sys.executable, "-c", TALK, str(uid), source, to, str(every), str(lasts), str(PORT))
    p.line()
    return p


def wait_for(what, seconds, talk):
    end = time.monotonic() + seconds
    while not any(what in line for line in talk):
        assert time.monotonic() < end, "\n".join(talk)
        time.sleep(0.02)


def accepted_before_us(lab):
    """Whoever puts this in front of our rules ends the way through the table there."""
    inside(lab, "iptables", "-t", "mangle", "-I", "POSTROUTING", "-j", "ACCEPT")


def marks_overwritten(lab):
    """All of a mark is written by somebody who thinks that it is his alone."""
    inside(lab, "iptables", "-t", "mangle", "-A", "PREROUTING", "-j", "CONNMARK", "--set-mark", "0x1")


def nor_owners(lab):
    """nftables knows owners of what comes, too; but not on a machine that looks for no socket so early."""
    inside(lab, "sysctl", "-qw", "net.ipv4.tcp_early_demux=0")
    marks_overwritten(lab)


@pytest.mark.parametrize("backend, spoil, lasts, said", [
    ("iptables", accepted_before_us, 15, "send"), ("nftables", nor_owners, 0, "receive"),
    pytest.param("iptables", accepted_before_us, 0, "send", marks=pytest.mark.at_leisure),
    pytest.param("legacy", accepted_before_us, 0, "send", marks=pytest.mark.at_leisure),
    pytest.param("iptables", marks_overwritten, 0, "receive", marks=pytest.mark.at_leisure)])
def test_nothing_comes_any_more(lab, echo, clean, monkeypatch, backend, spoil, lasts, said):
    choose(backend, monkeypatch)
    if backend == "legacy" and spoil is accepted_before_us:
        def spoil(there):
            inside(there, "iptables-legacy", "-t", "mangle", "-I", "POSTROUTING", "-j", "ACCEPT")
    tool = lab.apptap(tier="nflog").wait_ready()
    app = talker(lab, truth.APP_UID, lasts=lasts)
    app.say("go")
    time.sleep(1.2)
    assert not tool.talk[-1:] or "warning" not in tool.talk[-1], tool.talk
    spoilt = time.time()
    spoil(lab)
    wait_for(f"connections {said}", 8, tool.talk)
    took = time.time() - spoilt
    time.sleep(0.5)
    assert tool.stop() == 0, tool.talk
    account = tool.json()
    assert any("capturing with sockdiag from now on" in text for text in account["warnings"])
    times = [ts - spoilt for ts, p in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap")))
             if p and PORT in truth.ports(p)]
    before, after = [t for t in times if t < 0], [t for t in times if t > took]
    print(f"{spoil.__name__}: {took:.1f} s; {len(before)} packets before, {len(after)} after")
    assert len(before) > 30 and len(after) > 10, (len(before), len(after))
    assert not re.search("APPTAP_|apptap_", inside(lab, "nft", "list", "ruleset"))


# A user who sends datagrams to the other machine, and gets none.
DATAGRAMS = """
import os, socket, sys, time
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("there", flush=True)
sys.stdin.readline()
while float(sys.argv[2]):
    s.sendto(b"datagram", ("10.77.0.2", int(sys.argv[3])))
    time.sleep(float(sys.argv[2]))
sys.stdin.readline()
"""


@pytest.mark.parametrize("backend, spoil, every, unseen", [
    ("nftables", marks_overwritten, 0.05, "the answer to a packet"),
    ("iptables", accepted_before_us, 0.05, "a packet"), ("iptables", accepted_before_us, 0, "a packet"),
    pytest.param("legacy", marks_overwritten, 0.05, "the answer to a packet", marks=pytest.mark.at_leisure)])
def test_an_app_without_connections(lab, clean, monkeypatch, backend, spoil, every, unseen):
    """UDP has no counts of bytes: a packet of our own shows it, also while the app is idle."""
    choose(backend, monkeypatch)
    tool = lab.apptap(tier="nflog").wait_ready()
    app = lab.program("app", sys.executable, "-c", DATAGRAMS, str(truth.APP_UID), str(every), str(PORT))
    app.line()
    app.say("go")
    time.sleep(2.5)
    assert not any("netfilter" in line for line in tool.talk), tool.talk
    spoilt = time.time()
    spoil(lab)
    wait_for(f"do not see {unseen} of our own", 8, tool.talk)
    print(f"{spoil.__name__}: {time.time() - spoilt:.1f} s")
    time.sleep(0.5)
    assert tool.stop() == 0, tool.talk
    assert any("capturing with sockdiag from now on" in text for text in tool.json()["warnings"])
    kept = [p for _, p in truth.packets(truth.to_pcap(tool.path, lab.file("ours.pcap"))) if p]
    assert all(p[12] == 10 for p in kept), kept	# ours over loopback is no app's
    assert len(kept) > 50 if every else not kept


HARMLESS = {	# of users of their own: what they do, and what is asked for
    6001: ({"every": 0}, []),	# an open connection, and nothing on it
    6002: ({"source": "127.0.0.1", "to": "127.0.0.1"}, []),	# loopback: all is on its way out
    6003: ({"source": "10.77.0.1", "to": "10.77.0.1"}, []),	# the same by another address
    6004: ({}, ["--interface", "lo"]),	# nothing of it is wanted
    6005: ({}, []),	# a filter drops what it sends
}


@pytest.mark.parametrize("backend", ["nftables", pytest.param("iptables", marks=pytest.mark.at_leisure)])
def test_quiet_by_itself(lab, echo, clean, monkeypatch, backend):
    choose(backend, monkeypatch)
    tools = {uid: lab.apptap(*options, tier="nflog", name=f"{uid}.pcapng", target=["--uid", str(uid)])
             for uid, (_, options) in HARMLESS.items()}
    for tool in tools.values():
        tool.wait_ready()
    apps = {uid: talker(lab, uid, **how) for uid, (how, _) in HARMLESS.items()}
    for app in apps.values():
        app.say("go")
    time.sleep(0.5)
    inside(lab, "iptables", "-A", "OUTPUT", "-m", "owner", "--uid-owner", "6005", "-j", "DROP")
    time.sleep(3)
    inside(lab, "iptables", "-I", "INPUT", "-i", "lo", "-j", "DROP")	# our own packet goes nowhere
    time.sleep(3)
    for uid, tool in tools.items():
        assert tool.stop() == 0, tool.talk
        account = tool.json()
        assert account["tier"] == "nflog" and not account["warnings"], (uid, account["warnings"])
        kept = account["counters"]["packets"]
        assert kept > 60 if uid in (6002, 6003) else kept < 100, (uid, kept)
