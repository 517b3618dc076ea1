"""test_output.py - the file that a capture is written to: by which names, and what it held before"""
import fcntl
import os
import pty
import signal
import subprocess

import pytest

import program
from program import APPTAP, UID, Run, packets, run, says
from program import net, tmp, traffic  # noqa: F401  fixtures

pytestmark = program.here
PRECIOUS = b"precious" * 1000


def shell(net, line, *args):
    """A line of a user's shell, with apptap as $0; its exit code and what it wrote."""
    done = subprocess.run(net.enter("-n") + ["bash", "-c", line, APPTAP, *map(str, args)],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=program.WAIT)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def old(tmp):
    """A file with something in it that the user would miss."""
    path = f"{tmp}/old.pcap"
    with open(path, "wb") as f:
        f.write(PRECIOUS)
    return path


@pytest.mark.parametrize("args", [
    ["no-such-program-here"], ["--uid", UID, "-i", "nope9"], ["--uid", UID, "-t", "nosuchtier"],
    ["4194303"], ["--", "no-such-program-here"], ["--", "/"], ["--unit", "no-such-unit"],
], ids=str)
def test_a_start_that_fails_touches_nothing(net, old, args):
    before = os.stat(old)
    options = ["--local"] if "--" not in args else []
    code, _, err = run(net, "-o", old, *options, *args)
    assert code in (1, 2, 3, 126, 127), err
    with open(old, "rb") as f:
        assert f.read() == PRECIOUS
    assert os.stat(old).st_mtime_ns == before.st_mtime_ns


def test_called_off_before_it_began(net, old):
    """By a signal, while the agent starts."""
    for _ in range(5):
        with open(old, "wb") as f:
            f.write(PRECIOUS)
        r = Run(net, "--uid", UID, "--local", "-o", old)
        code = r.end(signal.SIGTERM)
        with open(old, "rb") as f:
            content = f.read()
        assert code in (0, -signal.SIGTERM)
        assert content == PRECIOUS or (code == 0 and packets(old) == 0)


def test_a_file_that_is_replaced_stays_the_same_file(net, tmp, old, traffic):
    """Its other names, mode, owner and inode: as tcpdump does."""
    os.link(old, f"{tmp}/second")
    os.chmod(old, 0o664)
    os.chown(old, 12345, 12345)
    before = os.stat(old)
    assert run(net, "--uid", UID, "--local", "-o", old, "-c", 5)[0] == 0
    after = os.stat(old)
    for what in ("st_ino", "st_mode", "st_uid", "st_gid", "st_nlink"):
        assert getattr(after, what) == getattr(before, what), what
    assert packets(f"{tmp}/second") == 5


def test_a_file_that_may_not_be_written(net, tmp, old):
    os.chown(tmp, 65534, 65534)
    os.chown(old, 65534, 65534)
    os.chmod(old, 0o444)
    code, _, err = run(net, "--uid", UID, "--local", "-o", old,
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert code == 1
    says(err, "may not write there")
    with open(old, "rb") as f:
        assert f.read() == PRECIOUS


def test_two_captures_of_one_name(net, tmp, traffic):
    """What one that never began has made, and another has written to since, is not its to remove."""
    path = f"{tmp}/x.pcap"
    first = subprocess.Popen(net.enter("-n") + [APPTAP, "--uid", str(UID), "--local", "-o", path],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(path):
        assert first.poll() is None
    os.kill(first.pid, signal.SIGSTOP)
    try:
        assert run(net, "--uid", UID, "--local", "-o", path, "-c", 5)[0] == 0
    finally:
        os.kill(first.pid, signal.SIGINT)
        os.kill(first.pid, signal.SIGCONT)
    first.wait(program.WAIT)
    assert os.path.exists(path)  # what is in it is another matter, where the first one had begun


@pytest.mark.parametrize("options, said", [
    (("-o", "-"), "stdout is closed"), (("--json", "-o", "{tmp}/x.pcap"), "writing JSON to stdout"),
    (("--version",), "writing to stdout failed"), (("--help",), "writing to stdout failed"),
], ids=lambda v: v[0] if isinstance(v, tuple) else "")
def test_a_closed_stdout_is_no_hole(net, tmp, options, said):
    """What should have gone there is not lost without a word."""
    args = [o.format(tmp=tmp) for o in options]
    code, _, err = shell(net, '"$0" "$@" --uid 5001 --local -d 0.1 -q >&-', *args)
    assert code == 1 and said in err


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_stdout_by_any_name(net, tmp, traffic, name):
    code, out, err = shell(net, '"$0" --local --uid "$1" -o "$2" -c 3 | cat', UID, name)
    assert code == 0 and out[:4] == b"\xd4\xc3\xb2\xa1" and out.count(b"apptap-test") == 3, err
    assert shell(net, '"$0" --local --uid "$1" -o "$2" -c 3 >"$3"', UID, name, f"{tmp}/a")[0] == 0
    assert packets(f"{tmp}/a") == 3


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_stdout_that_appends_keeps_what_was_there(net, old, traffic, name):
    assert shell(net, '"$0" --local --uid "$1" -o "$2" -c 3 >>"$3"', UID, name, old)[0] == 0
    with open(old, "rb") as f:
        content = f.read()
    assert content.startswith(PRECIOUS) and content.count(b"apptap-test") == 3


def test_another_descriptor_by_name(net, tmp, traffic):
    """What a shell makes of >(command)."""
    code, out, err = shell(net, '"$0" --local --uid "$1" -o >(cat) -c 3 | cat', UID)
    assert code == 0 and out.count(b"apptap-test") == 3, err
    code, _, err = shell(net, '"$0" --local --uid "$1" -o /dev/fd/7 -c 3 7>"$2"', UID, f"{tmp}/a")
    assert code == 0 and packets(f"{tmp}/a") == 3, err


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/tty", "the terminal's own"])
def test_no_terminal_by_any_name(net, name):
    ours, theirs = pty.openpty()
    if name.startswith("the"):
        name = os.ttyname(theirs)
    with subprocess.Popen(
            net.enter("-n") + [APPTAP, "--uid", str(UID), "--local", "-o", name],
            stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, 0x540E, 0)) as p:  # TIOCSCTTY: it is /dev/tty
        err = p.communicate(timeout=program.WAIT)[1].decode()
    os.close(ours)
    os.close(theirs)
    assert p.returncode == 2, err
    says(err, "terminal", "tshark")


def test_json_and_a_command_leave_stdout_alone(net):
    for args in (["--json"], ["--", "true"]):
        code, _, err = run(net, "-o", "/dev/stdout", *(["--uid", UID] if "--json" in args else []), *args)
        assert code == 2 and "stdout" in err, err
