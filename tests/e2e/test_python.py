"""test_python.py - the Python package as its users have it: what they wrote before, and what is new

Each test is a script of a user's, run in a network namespace of its own; it prints what it found.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

import lab
import phone as phone_module
import program
from pace import in_time
from program import UID, Holder, packets, sending
from program import net, tmp  # noqa: F401  fixtures
from pyuser import BUILD, ENV, PLUMBING, PREAMBLE, user
from test_adb import payloads
from test_cli_rights import sudoer  # noqa: F401  a fixture

pytestmark = program.here


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
    assert got[:2] == ["sockdiag", "duration"] and 0.3 <= got[2] and in_time(got[2], 5)
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
        s = apptap.CaptureSession(app, here, "x.pcap")
        s.teardown(); s.teardown(); assert s.result is None
        apps = apptap.list_apps(here)
        assert any(a.name.startswith("python") and a.uid == 0 for a in apps) and len(set(apps)) == len(apps)
        cleaned = apptap.cleanup(here)
        assert cleaned.processes_checked > 0 and cleaned.chains_removed == cleaned.cgroups_removed == 0
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
                    dict(nflog_group=70000), dict(snaplen=2**32 + 96), dict(count=2**64), dict(count=-1),
                    dict(duration=-1), dict(duration=float("nan")), dict(duration=float("inf")),
                    dict(interfaces=["lo\\0x"])):
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


def test_what_c_would_cut_off_is_refused(net, tmp):
    """It would be another app, or another file: 2**32 is 0, and a NUL ends a string."""
    assert user(net, """
        def refused(target, output=sys.argv[1], **more):
            try: apptap.CaptureSession(target, here, output, **more).start()
            except apptap.OptionError as error: return error.message
            raise AssertionError(f"captured {target}")
        me = os.getpid()
        said = [refused(apptap.Target(uids=(uid,))) for uid in (2**32, 2**32 + 5001, 2**64, -1, 2**32 - 1)]
        said += [refused(apptap.Target(pid=pid)) for pid in (2**32 + me, me - 2**32, -1)]
        said += [refused(apptap.Target(package="python3\\0x")), refused(apptap.Target(user="root\\0x")),
                 refused(apptap.Target(command=("true\\0x",))), refused(app, sys.argv[1] + "\\0x")]
        for one in (lambda: apptap.Target(command="true"),
                    lambda: apptap.CaptureSession(app, here, None, interfaces="lo")):
            try: one()
            except TypeError as error: said.append(str(error))
        assert not os.path.exists(sys.argv[1])
        print(json.dumps(len(said)))
        """, f"{tmp}/x.pcap") == 14


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
        assert [e.closed for e in events] == [False, True] and events[0].connection.uid == 5001
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


def test_a_session_that_is_dropped_ends(net):
    """Nobody stops it, and a callback is all that knows it: its agent ends, and nothing crashes."""
    assert user(net, """
        import gc
        def agents():
            with open(f"/proc/self/task/{os.getpid()}/children") as f: return f.read().split()
        refused, again = [], []
        for _ in range(3):
            def progress(_counters):
                try: again[0].stop()
                except RuntimeError as error: refused.append("interrupt()" in str(error))
            s = apptap.CaptureSession(app, here, None, on_progress=progress)
            again[:] = [s]
            s.start()
            while not refused: time.sleep(0.01)
            refused.clear(); again.clear()
            del s
            gc.collect()
        end = time.monotonic() + 5
        while (agents() or threading.active_count() > 1) and time.monotonic() < end: time.sleep(0.01)
        print(json.dumps([agents(), threading.active_count()]))
        """) == [[], 1]


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


def test_a_cleanup_leaves_a_capture_of_the_library_alone(net, tmp):
    """Its agent's parent is no apptap, but a Python: it has a host all the same."""
    got = user(net, """
        s = apptap.CaptureSession(app, here, sys.argv[1])
        s.start()
        found = apptap.cleanup(here)
        both(3)
        print(json.dumps([found.agents_live, s.stop().counters.kept]))
        """, f"{tmp}/x.pcap")	# agents_ended may be of another lane's killed host
    assert got[0] >= 1 and got[1] == 3


def test_the_program_as_a_module(net, tmp):
    with sending(net):
        done = subprocess.run(
            net.enter("-n") + [sys.executable, "-m", "apptap", "--uid", str(UID), "--local", "-o",
                               f"{tmp}/x.pcap", "-c", "3"],
            env=ENV, capture_output=True, text=True, timeout=lab.WAIT)
    assert done.returncode == 0, done.stderr
    assert packets(f"{tmp}/x.pcap") == 3


# Where it runs


def test_an_ordinary_user_by_sudo(sudoer, tmp):
    """LocalExecutor(use_sudo=True) of somebody who may use sudo; without it, he is told."""
    holder, _ = sudoer
    for name in ("apptap", "libapptap.so.0.1.0"):
        os.chmod(shutil.copy(os.path.join(BUILD, name), tmp), 0o755)
    shutil.copytree(os.path.join(lab.REPO, "python", "apptap"), f"{tmp}/python/apptap")
    env = {"APPTAP_LIBRARY": f"{tmp}/libapptap.so.0.1.0", "APPTAP_AGENT": f"{tmp}/apptap",
           "PYTHONPATH": f"{tmp}/python"}
    prefix = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
    with sending(holder):
        got = user(holder, """
            s = apptap.CaptureSession(app, here, sys.argv[1])
            s.start()
            while os.path.getsize(sys.argv[1]) < 500: time.sleep(0.01)
            r = s.stop()
            try:
                apptap.CaptureSession(app, apptap.LocalExecutor(use_sudo=False), sys.argv[1] + "2").start()
            except PermissionError as error:
                print(json.dumps([os.getuid(), r.counters.kept, error.message]))
            """, f"{tmp}/out/x.pcap", prefix=prefix, flags=("-n", "-m"), **env)
    assert got[0] == 54321 and got[1] > 0 and "needs root" in got[2]
    assert packets(f"{tmp}/out/x.pcap") == got[1]
    assert os.stat(f"{tmp}/out/x.pcap").st_uid == 54321


WRAPPER = PLUMBING + """
kind = {"adb": apptap.AdbExecutor, "wrapped": Plumbing, "handing": Handing}[sys.argv[3]]
executor = kind(sys.argv[2])
with apptap.CaptureSession(apptap.Target(package="com.example.app"), executor, sys.argv[1]) as cap:
    cap.start()
    print("ready", flush=True)
    sys.stdin.readline()
    cap.stop()
r = cap.result
print(json.dumps([sorted(r.uids), r.counters.kept, r.clock_ahead_ns is not None, str(r.tier),
                  sorted(set(getattr(executor, "calls", [])))]), flush=True)
"""


@pytest.fixture(scope="module")
def phone():
    reason = phone_module.why_not()
    if reason:
        pytest.skip(reason)
    with phone_module.Phone() as p:
        yield p


@pytest.mark.parametrize("how", ["adb", "wrapped", "handing"])
def test_a_phone(phone, tmp, how):
    """By the library's own adb, and all through a tool's own plumbing round the same."""
    env = {**ENV, **{k: phone.env[k] for k in ("APPTAP_AGENTS", "ANDROID_ADB_SERVER_PORT")}}
    other = phone.sender(phone_module.OTHER, "other")
    script = lab.Program(["env", *(f"{k}={v}" for k, v in env.items()), sys.executable, "-c",
                          PREAMBLE + WRAPPER, f"{tmp}/x.pcap", phone.serial, how])
    try:
        assert script.line() == "ready"
        app = phone.sender(phone_module.APP, "app")
        time.sleep(0.3)  # not synchronisation: so long it sends
        app.say("end")
        sent = int(app.line())
        script.say("stop")
        uids, kept, clock, _, calls = json.loads(script.line())
        assert script.finish() == 0
    finally:
        script.kill()
    other.say("end")
    texts = payloads(f"{tmp}/x.pcap")
    assert phone_module.APP in uids and clock
    assert len([t for t in texts if t.startswith(b"app")]) == sent > 0
    assert not [t for t in texts if t.startswith(b"other")]
    assert calls == {"adb": [], "wrapped": ["pull", "push", "shell"],
                     "handing": ["background", "pull", "push"]}[how]
    assert in_time(phone_module.until(lambda: not phone.leftovers()), 2), phone.leftovers()


# From the sources, as a user would: a minute of compiling, so only on demand.
BUILDS = [BUILD, None] if os.environ.get("APPTAP_ALL") else [BUILD]


@pytest.mark.parametrize("build", BUILDS, ids=lambda b: "built" if b else "sources")
def test_a_wheel_carries_all_that_it_needs(net, tmp, build):
    """`pip install` without a network: it captures with nothing else said, and has the program."""
    env = {**os.environ, "PIP_NO_INDEX": "1", "TMPDIR": tmp, "APPTAP_BUILD": build or ""}
    folder = os.path.join(lab.REPO, "python")
    if build:
        shutil.copytree(folder, f"{tmp}/python", ignore=shutil.ignore_patterns("build"))
        folder = f"{tmp}/python"

    def pip(*args):
        done = subprocess.run([sys.executable, "-m", "pip", *args], env=env, capture_output=True,
                              text=True, timeout=lab.WAIT * 5)
        assert done.returncode == 0, done.stdout + done.stderr

    pip("wheel", "-w", f"{tmp}/wheels", folder)
    wheel, = os.listdir(f"{tmp}/wheels")
    pip("install", "--target", f"{tmp}/site", f"{tmp}/wheels/{wheel}")
    assert re.fullmatch(r"apptap-\d+\.\d+\.\d+-py3-none-linux_\w+\.whl", wheel)
    assert os.path.exists(f"{tmp}/site/apptap/py.typed")
    nothing = {"PYTHONPATH": f"{tmp}/site", "APPTAP_LIBRARY": "/nowhere", "APPTAP_AGENT": "/nowhere"}
    got = user(net, """
        s = apptap.CaptureSession(app, here, sys.argv[1])
        s.start(); both(5); r = s.stop()
        print(json.dumps([apptap.__file__, apptap.native.library()._name, r.counters.kept]))
        """, f"{tmp}/x.pcap", **nothing)
    assert got == [f"{tmp}/site/apptap/__init__.py", f"{tmp}/site/apptap/lib/libapptap.so.0", 5]
    done = subprocess.run([f"{tmp}/site/bin/apptap", "--version"], env={**env, **nothing},
                          capture_output=True, text=True, timeout=lab.WAIT)
    assert done.stdout.startswith("apptap 0."), done.stderr


def test_structures_are_those_of_the_header(net):
    """The sizes that ctypes has are the compiler's."""
    abi = subprocess.run([os.path.join(BUILD, "tests", "api", "api-abi")], capture_output=True,
                         text=True, check=True).stdout
    c_sizes = dict(line.split()[1:] for line in abi.splitlines() if line.startswith("struct"))
    sizes = user(net, """
        import ctypes
        from apptap import native as n
        print(json.dumps({name: ctypes.sizeof(s) for name, s in dict(
            error=n.Error, packet=n.CPacket, connection=n.CConnection, uid=n.CUid,
            cgroup=n.CCgroup, process=n.CProcess, tier_status=n.TierStatus, counters=n.CCounters,
            event=n.Event, link=n.Link, options=n.Options, result=n.Result, app=n.CApp,
            app_list=n.AppList, tier_list=n.TierList, cleaned=n.Cleaned).items()}))
        """)
    assert {f"apptap_{k}": str(v) for k, v in sizes.items()} == c_sizes
