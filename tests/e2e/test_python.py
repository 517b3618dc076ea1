"""test_python.py - the Python package as its users have it: what they wrote before, and what is new

Each test is a script of a user's, run in a network namespace of its own; it prints what it found.
"""
import json
import os
import subprocess
import sys
import textwrap

import pytest

import lab
import program
from program import UID, packets, sending
from program import net, tmp  # noqa: F401  fixtures

pytestmark = program.here
BUILD = os.path.abspath(lab.BUILD)
ENV = {
    **os.environ,
    "PYTHONPATH": os.path.join(lab.REPO, "python"),
    "PYTHONDONTWRITEBYTECODE": "1",
    "APPTAP_LIBRARY": os.path.join(BUILD, "libapptap.so"),
    "APPTAP_AGENT": os.path.abspath(lab.APPTAP),
}
# What every script begins with: an app (UID 5001) and a bystander, both talking to themselves.
PREAMBLE = """
import json, os, socket, subprocess, sys, threading, time
import apptap

def talk(uid, count, payload):
    pid = os.fork()
    if not pid:
        os.setgid(uid); os.setuid(uid)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0)); s.connect(s.getsockname())
        for _ in range(count):
            s.send(payload); s.recv(100)
        os._exit(0)
    os.waitpid(pid, 0)

def both(count=50):
    talk(5001, count, b"of the app"); talk(5002, count, b"of the bystander")

app = apptap.Target(uids=[5001])
here = apptap.LocalExecutor()
"""


def user(net, script, *args, code=0, prefix=(), **env):
    """Runs @script; returns the JSON that it printed last."""
    done = subprocess.run(
        net.enter("-n") + [*prefix, sys.executable, "-c", PREAMBLE + textwrap.dedent(script),
                           *map(str, args)],
        capture_output=True, text=True, timeout=60, env={**ENV, **env})
    assert done.returncode == code, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else done.stderr


def test_the_documented_session(net, tmp):
    got = user(net, """
        with apptap.CaptureSession(target=app, executor=here, output=sys.argv[1]) as cap:
            cap.start()
            both()
            cap.stop()
        r = cap.result
        c, = r.connections
        print(json.dumps([str(r.tier), sorted(r.uids), r.pcap_path, r.linktype, r.warnings,
                          [c.protocol, c.family, c.laddr, c.raddr, c.uid, c.packets_out,
                           c.lport == c.rport, len(c.community_id)],
                          r.reasons, r.ended_by, r.counters.kept]))
        """, f"{tmp}/x.pcap")
    tier, uids, path, linktype, warnings, conn, reasons, ended_by, kept = got
    assert tier in ("bpf", "nflog", "sockdiag") and uids == [UID] and path == f"{tmp}/x.pcap"
    assert linktype == 276 and warnings == [] and ended_by == "stopped"
    assert conn == ["udp", 4, "127.0.0.1", "127.0.0.1", UID, 50, True, 30]
    assert list(reasons) == [str(UID)] and kept == 50
    with open(path, "rb") as f:
        content = f.read()
    assert packets(path) == content.count(b"of the app") == 50
    assert b"bystander" not in content


def test_one_call_with_a_duration(net, tmp):
    got = user(net, """
        began = time.monotonic()
        r = apptap.capture(target=app, executor=here, output=sys.argv[1], nflog_group=30,
                           breadth=apptap.Breadth.APP_ONLY, tier=apptap.Tier.SOCKDIAG,
                           duration=0.3, tcpdump_path="/usr/sbin/tcpdump")
        print(json.dumps([str(r.tier), r.ended_by, time.monotonic() - began, r.warnings]))
        """, f"{tmp}/x.pcap")
    assert got[:2] == ["sockdiag", "duration"] and 0.3 <= got[2] < 5
    assert "tcpdump_path is ignored" in got[3][0]
    assert packets(f"{tmp}/x.pcap") == 0


def test_an_unknown_app_raises_and_nothing_is_captured(net, tmp):
    got = user(net, """
        import errno
        session = apptap.CaptureSession(apptap.Target(package="no.such.app"), here, sys.argv[1])
        try:
            session.start()
        except apptap.TargetError as error:
            print(json.dumps([error.code == errno.ESRCH, error.message, error.hint,
                              isinstance(error, LookupError), os.path.exists(sys.argv[1]),
                              session.result]))
        session.teardown(); session.teardown()
        """, f"{tmp}/x.pcap")
    assert got[0] and "no.such.app" in got[1] and got[2] and got[3:] == [True, False, None]


def test_everything_is_captured_only_when_asked_for(net, tmp):
    got = user(net, """
        s = apptap.CaptureSession(app, here, sys.argv[1], tier=apptap.Tier.WHOLE_DEVICE)
        s.start(); both(); r = s.stop()
        print(json.dumps([str(r.tier), sorted(r.uids)]))
        """, f"{tmp}/x.pcap")
    assert got == ["whole_device", []]
    assert packets(f"{tmp}/x.pcap") == 100


def test_values(net):
    assert user(net, """
        from apptap.executors.base import CmdResult, Executor, BackgroundProc
        from apptap.executors.local import LocalExecutor
        from apptap.api import CaptureSession, capture, cleanup
        from apptap.targets import Target, Tier, Breadth
        from apptap.result import CaptureResult, Connection
        from apptap.constants import DEFAULT_NFLOG_GROUP
        def refused(**kw):
            try: apptap.Target(**kw)
            except ValueError: return True
        a = apptap.Connection("tcp", 4, "10.0.0.1", 1, "10.0.0.2", 2)
        b = apptap.Connection("tcp", 4, "10.0.0.2", 2, "10.0.0.1", 1)
        assert a.key() == b.key() and a != b
        assert a == apptap.Connection("tcp", 4, "10.0.0.1", 1, "10.0.0.2", 2, uid=5) and len({a, b}) == 2
        assert refused() and refused(package="") and not refused(pid=0)
        assert apptap.Target(package="com.x", pid=3).describe() == "com.x (pid 3)"
        assert apptap.Target(pid=3).describe() == "pid 3"
        assert [str(t) for t in apptap.Tier] == ["auto", "bpf", "nflog", "sockdiag", "whole_device"]
        assert f"{apptap.Breadth.APP_ISOLATED}" == "app+isolated"
        assert CmdResult(0).ok and not CmdResult(1).ok
        assert isinstance(here, Executor) and isinstance(subprocess.Popen("true"), BackgroundProc)
        assert here.shell("echo", "a b").stdout == "a b\\n" and here.platform == "linux"
        assert here.run("false").returncode == 1 and here.run("/nowhere").returncode == 127
        r = apptap.CaptureResult(tier=Tier.NFLOG)
        assert (r.uids, r.connections, r.pcap_path, r.linktype, r.warnings) == (frozenset(), (), None, None, [])
        assert set(apptap.__all__) <= set(dir(apptap)) and apptap.__version__
        assert any(t.works for t in apptap.probe(here))
        apps = apptap.list_apps(here)
        assert any(a.name.startswith("python") and a.uid == 0 for a in apps) and len(set(apps)) == len(apps)
        assert apptap.cleanup(here).processes_checked > 0
        print(json.dumps("fine"))
        """) == "fine"


def test_what_is_wrong_is_raised(net, tmp):
    assert user(net, """
        def raises(kind, do):
            try: do()
            except kind as error: return error
            raise AssertionError("nothing was raised")
        out = sys.argv[1]
        s = apptap.CaptureSession(app, here, out)
        raises(RuntimeError, s.stop)
        s.start()
        raises(RuntimeError, s.start)
        raises(RuntimeError, s.packets)
        s.stop()
        raises(RuntimeError, s.stop)
        raises(RuntimeError, s.start)
        for bad in (dict(snaplen=10**6), dict(interfaces=["a-name-of-16-chr"]), dict(duration=1e18),
                    dict(nflog_group=70000)):
            assert "nothing" != raises(apptap.OptionError,
                                       apptap.CaptureSession(app, here, out, **bad).start).message
        e = raises(apptap.AppTapError, apptap.CaptureSession(app, here, "/nowhere/x").start)
        assert e.code == 2 and "/nowhere" in e.message, e
        e = raises(apptap.AppTapError,
                   apptap.CaptureSession(app, here, out, interfaces=["nosuch0"]).start)
        assert e.code == 19, e
        raises(apptap.OptionError, apptap.CaptureSession(app, here, None).start)
        print(json.dumps(str(e)))
        """, f"{tmp}/x.pcap")


def test_live_packets_and_connections(net):
    assert user(net, """
        s = apptap.CaptureSession(app, here, None, packets=True, connections=True)
        s.start(); both(20); s.interrupt()
        got = list(s.packets())
        assert len(got) == 20 and {p.uid for p in got} == {5001}
        assert all(p.data[p.network:][28:] == b"of the app" for p in got), got[0]
        assert {p.interface for p in got} == {"lo"} and {str(p.direction) for p in got} <= {"in", "out"}
        assert sorted(p.time_ns for p in got) == [p.time_ns for p in got]
        events = list(s.connections())
        assert [e.closed for e in events] == [False] and events[0].connection.uid == 5001
        r = s.stop()
        assert r.pcap_path is None and r.connections == (events[0].connection,)
        print(json.dumps("fine"))
        """) == "fine"


def test_async(net):
    assert user(net, """
        import asyncio
        async def main():
            seen = []
            async with apptap.CaptureSession(app, here, None, packets=True) as s:
                await asyncio.to_thread(both, 20)
                s.interrupt()
                async for batch in s.packet_batches():
                    seen += batch
            return len(seen), s.result.ended_by
        print(json.dumps(asyncio.run(main())))
        """) == [20, "stopped"]


def test_progress_and_descriptors(net, tmp):
    got = user(net, """
        said = []
        with open(sys.argv[1], "wb") as f:
            s = apptap.CaptureSession(app, here, f, count=5, on_progress=said.append)
            s.start()
            both(20)
            assert s.wait(10)
            r = s.stop()
        print(json.dumps([r.ended_by, r.pcap_path, said[-1].kept >= 5]))
        """, f"{tmp}/x.pcap")
    assert got == ["count", None, True]
    assert packets(f"{tmp}/x.pcap") == 5


def test_the_program_as_a_module(net, tmp):
    with sending(net):
        done = subprocess.run(
            net.enter("-n") + [sys.executable, "-m", "apptap", "--uid", str(UID), "--local", "-o",
                               f"{tmp}/x.pcap", "-c", "3"],
            env=ENV, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert packets(f"{tmp}/x.pcap") == 3
