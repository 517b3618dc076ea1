"""test_command.py - a command started to be captured: its tree, its user, its end, and what is left"""
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

import lab as lab_module
import processes
import program
import truth
from program import APPTAP, Holder, Run, gone_within, packets, run, says
from program import net, tmp  # noqa: F401  fixtures
from test_cgroup import mounted
from test_cli_rights import as_user, sudoer  # noqa: F401  a fixture
from test_exact import Shortfall, second_try

NOT_THROUGH = ("nflog",)	# it cannot tell cgroups apart

if not mounted() or not os.access(f"{mounted()}/cgroup.procs", os.W_OK):
    pytestmark = pytest.mark.skip(reason="needs cgroup2, mounted and writable")
else:
    pytestmark = program.here

# Sends one datagram to itself over lo, which says who sent it.
SEND = ("python3 -c 'import os, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        "s.bind((\"127.0.0.1\", 0)); s.connect(s.getsockname()); "
        "s.send((\"from %d %s\" % (os.getuid(), os.environ.get(\"MARK\", \"\"))).encode())'")


def groups():
    """The cgroups that commands were given."""
    found = subprocess.run(["find", mounted(), "-type", "d", "-name", "apptap-*"],
                           capture_output=True, text=True).stdout
    return set(found.split())


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = groups()
    yield
    assert groups() <= before


def payloads(path):
    done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e", "data.data"],
                          capture_output=True, text=True, check=True)
    return [bytes.fromhex(line).decode() for line in done.stdout.split()]


def capture(net, tmp, script, *options, **kw):
    path = f"{tmp}/c.pcapng"
    code, out, err = run(net, *options, "-o", path, "--", "sh", "-c", script, **kw)
    return code, out, err, path


def test_a_script_and_all_that_it_starts(net, tmp):
    script = f"{SEND}; (MARK=child; export MARK; {SEND}); MARK=two setsid sh -c '{SEND}' & wait"
    script = script.replace("setsid sh -c '" + SEND + "'", "setsid " + SEND)
    code, _, err, path = capture(net, tmp, script)
    assert code == 0, err
    assert sorted(payloads(path)) == ["from 0 ", "from 0 child", "from 0 two"]


def test_one_that_goes_into_the_background_is_waited_for(net, tmp):
    """Its parent ends first, and says how it ended; the capture ends with the last of them."""
    code, _, err, path = capture(net, tmp, f"(sleep 0.4; MARK=late; export MARK; {SEND}) & exit 9")
    assert code == 9, err
    assert payloads(path) == ["from 0 late"]


@pytest.mark.parametrize("script, code", [
    ("exit 0", 0), ("exit 77", 77), ("kill -KILL $$", 137), ("kill -TERM $$", 143),
])
def test_its_exit_status_is_ours(net, tmp, script, code):
    assert capture(net, tmp, script, "-q")[0] == code


def test_what_cannot_be_started(net, tmp):
    path = f"{tmp}/x.pcap"
    code, _, err = run(net, "-o", path, "--", "no-such-program")
    assert code == 127 and "'no-such-program': No such file" in err
    code, _, err = run(net, "-o", path, "--", tmp)
    assert code == 126 and "Permission denied" in err
    assert not os.path.exists(path)


@pytest.mark.parametrize("args, message", [
    (["-o", "x", "--"], "no command"),
    (["-o", "-", "--", "true"], "stdout"),
    (["--uid", "0", "-o", "x", "--", "true"], "more than one way"),
    (["sh", "-o", "x", "--", "true"], "more than one way"),
])
def test_usage(net, args, message):
    code, _, err = run(net, *args)
    assert code == 2
    says(err, message)


def test_its_own_words_and_environment(net, tmp):
    """Options behind the -- are its own; so is the environment, stdin aside (the test's is null)."""
    env = dict(os.environ, MARK="a b")
    code, out, _ = run(net, "-q", "-o", f"{tmp}/x.pcap", "--", "sh", "-c", 'echo "$MARK" "$@"', "sh",
                       "-c", "--local", "", "x y", env=env)
    assert (code, out) == (0, "a b -c --local  x y\n")


def test_a_signal_that_we_get_it_gets(net, tmp):
    script = "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    r = Run(net, "-q", "-o", f"{tmp}/x.pcap", "--", "sh", "-c", script)
    assert r.proc.stdout.readline() == b"up\n"
    assert r.end(signal.SIGTERM) == 5 and r.out == b"got\n"


def test_ctrl_c_is_the_commands(net, tmp):
    """On a terminal both get it, and the command decides: this one goes on, and is recorded."""
    script = f"trap 'echo caught' INT; echo up; read line; {SEND}; exit 4"
    pid, fd = pty.fork()
    if not pid:
        os.execvp("nsenter", net.enter("-n") + [APPTAP, "-q", "-o", f"{tmp}/c.pcapng", "--", "sh",
                                                "-c", script])
    said = b""

    def until(word):
        nonlocal said
        while word not in said:
            assert select.select([fd], [], [], program.WAIT)[0], said
            said += os.read(fd, 4096)

    until(b"up")
    os.write(fd, b"\x03")
    until(b"caught")
    os.write(fd, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    os.close(fd)
    assert payloads(f"{tmp}/c.pcapng") == ["from 0 "]


def test_a_limit_ends_the_capture_not_the_command(net, tmp):
    code, out, err, path = capture(net, tmp, "sleep 0.5; echo done; exit 3", "-d", "0.1")
    assert code == 3 and out == "done\n"
    assert packets(path) == 0


def test_by_sudo_it_runs_as_who_called(sudoer, tmp):
    """Not root: the agent is root's by sudo -n, the command is the user's, and so is the file."""
    holder, _ = sudoer
    path = f"{tmp}/out/c.pcapng"
    r = as_user(holder, tmp, "-o", path, "--", "sh", "-c", f"id -u; {SEND}; exit 6")
    assert r.end() == 6, r.err
    assert r.out == b"54321\n"
    assert payloads(path) == ["from 54321 "] and os.stat(path).st_uid == 54321


def test_under_sudo_it_becomes_who_called(sudoer, tmp):
    """`sudo apptap -- command`: his IDs and groups, and an environment that names him again."""
    holder, _ = sudoer
    env = dict(os.environ, SUDO_UID="54321", SUDO_GID="54321", SUDO_USER="apptaptest", HOME="/root")
    r = Run(holder, "-q", "-o", f"{tmp}/c.pcapng", "--", "sh", "-c",
            f"id -u; id -G; echo $HOME $USER $SUDO_UID; {SEND}", env=env, flags=("-n", "-m"))
    assert r.end() == 0, r.err
    assert r.out == b"54321\n54321\n/ apptaptest\n"
    assert payloads(f"{tmp}/c.pcapng") == ["from 54321 "]


def below(pid, name):
    """The agent, or its guardian."""
    for p in processes.descendants(pid):
        with open(f"/proc/{p}/comm") as f:
            comm, args = f.read().strip(), processes.words(p)
        if comm == name or name == "agent" and "--agent" in args and comm != "apptap-guardian":
            return p
    raise AssertionError(f"there is no {name}")


@pytest.mark.parametrize("victim", ["host", "agent", "apptap-guardian"])
def test_whoever_is_killed_the_cgroup_goes(net, tmp, victim):
    """And the command goes on: it is not ours to end."""
    before = groups()
    r = Run(net, "-o", f"{tmp}/x.pcap", "--", "sleep", "60").ready()
    (mine,) = groups() - before
    with open(f"{mine}/cgroup.procs") as f:
        (sleeper,) = map(int, f.read().split())
    try:
        os.kill(r.proc.pid if victim == "host" else below(r.proc.pid, victim), signal.SIGKILL)
        if victim == "apptap-guardian":
            os.kill(sleeper, signal.SIGTERM)
            assert r.end() == 143, r.err
        end = time.monotonic() + 2
        while os.path.exists(mine) and time.monotonic() < end:
            time.sleep(0.01)
        assert not os.path.exists(mine)
        if victim != "apptap-guardian":
            with open(f"/proc/{sleeper}/cgroup") as f:
                assert "0::/\n" in f.read() or "apptap-" not in f.read()
    finally:
        if victim != "apptap-guardian":
            os.kill(sleeper, signal.SIGKILL)
            r.end()


def ask_agent(pid, prefix=()):
    """What an agent says to a host that wants @pid moved and captured."""
    ours, theirs = socket.socketpair()
    with open(os.devnull, "w") as null:
        agent = subprocess.Popen([*prefix, APPTAP, "--agent"], stdin=theirs, stdout=theirs, stderr=null)
    theirs.close()

    def send(kind, body):
        ours.sendall(struct.pack("<IHH", len(body), kind, 0) + body)

    start = {"type": "start", "stream": True, "format": "pcap", "snaplen_bytes": 96,
             "command_pid": pid, "breadth": "app"}
    send(1, struct.pack("<4sHHIQ32s", b"ATAP", 2, 0, os.getpid(), 0, b"0.1.0"))
    send(2, json.dumps(start).encode())
    got = b""
    while (more := ours.recv(65536)):
        got += more
    agent.wait()
    ours.close()
    return got


def test_a_hostile_host_moves_nobody_elses_process(tmp):
    """Not init's child, not another user's, not a process that the host did not start."""
    own = subprocess.Popen(["sleep", "60"])
    # Its parent ends: it is the child of another.
    stray = int(subprocess.run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],
                               capture_output=True, text=True, check=True).stdout)
    try:
        for pid, env in ((stray, ()), (own.pid, ("env", "SUDO_UID=54321"))):
            with open(f"/proc/{pid}/cgroup") as f:
                before = f.read()
            said = ask_agent(pid, env)
            assert b"is not the host's to capture" in said, said
            with open(f"/proc/{pid}/cgroup") as f:
                assert f.read() == before
    finally:
        own.kill()
        own.wait()
        os.kill(stray, signal.SIGKILL)


def test_where_cgroup2_is_out_of_sight(tmp, tier):
    """As under `ip netns exec`: it has a /sys of its own, in which nothing is mounted."""
    holder = Holder("-n", "-m")
    try:
        holder.sh("umount -l /sys/fs/cgroup", "-n", "-m")
        r = Run(holder, "--tier", tier, "-o", f"{tmp}/x.pcap", "--", "sh", "-c", f"{SEND}; exit 3", flags=("-n", "-m"))
        assert r.end() == 3, r.err
        assert f"with {tier}" in r.err and "warning" not in r.err
        assert payloads(f"{tmp}/x.pcap") == ["from 0 "]
    finally:
        holder.end()


@pytest.mark.parametrize("what, said, prefix", [
    ("umount -l /sys/fs/cgroup", "not mounted", ("setpriv", "--bounding-set=-sys_admin")),
    ("mount -o remount,ro,bind {root}", "Read-only", ()),
])
def test_without_cgroup2_its_processes_are_followed(tmp, what, said, prefix):
    holder = Holder("-n", "-m")
    try:
        holder.sh(f"mount --bind {mounted()} {mounted()}; " * ("ro," in what)
                  + what.format(root=mounted()), "-n", "-m")
        for _ in range(5):	# one that lives for less than a look at /proc may be missed
            r = Run(holder, "--tier", "sockdiag", "-o", f"{tmp}/x.pcap", "--", "sh", "-c",
                    f"{SEND}; exit 3", flags=("-n", "-m"), prefix=prefix)
            assert r.end() == 3, r.err
            assert said in r.err and "processes are followed instead" in r.err
            if payloads(f"{tmp}/x.pcap"):
                break
        assert payloads(f"{tmp}/x.pcap") == ["from 0 "]
    finally:
        holder.end()


def test_cleanup_removes_what_a_killed_pair_left(net):
    left = f"{mounted()}/apptap-4194303-0badcafe"
    os.mkdir(left)
    code, out, _ = run(net, "--cleanup", "--local", "--json")
    assert code == 0 and json.loads(out)["cgroups_removed"] == 1
    assert not os.path.exists(left)


@second_try
def test_exact(lab):
    """From its first packet to its last, and nothing of others of its UID."""
    found = [lab_module.BY_NAME[n] for n in ("tcp_short", "dns", "udp_fire", "linger0", "ping")]
    reference, path = lab_module.Reference(lab), lab.file("out.pcapng")
    begun, sides = time.time(), []
    for role, base, prefix in (("app", 20000, [APPTAP, "-q", "-o", path, "--"]),
                               ("bystander", 30000, [])):
        script = []
        for w in found:
            lo = base + w.slot * truth.SLOT
            script.append(" ".join([lab_module.TRAFFIC, w.name, f"uid={truth.APP_UID}", f"count={w.count}",
                                    f"ports={lo}-{lo + truth.SLOT - 1}",
                                    f"peer={50000 - base + w.slot * truth.SLOT}"]))
        # All at once; each says that it is there, and waits for "go".
        script = "; ".join(f"echo go | {s} &" for s in script).replace("&;", "&") + " wait"
        sides.append(lab.program("app", *prefix, "sh", "-c", script))
    for p in sides:
        for _ in range(2 * len(found)):
            p.line()
        assert p.finish() == 0
        lab.programs.remove(p)
    ended = time.time()
    reference.stop()
    report = truth.compare(reference.paths, truth.to_pcap(path, lab.file("ours.pcap")), begun, ended)
    total = report.total
    print(report.complain(total))
    assert total.expected > 1000 and total.bystander > 1000
    assert not total.leaked and not total.extra
    if total.recall < 0.998:
        raise Shortfall(report.complain(total))
