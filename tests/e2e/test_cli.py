"""test_cli.py - the program as its user meets it: options, targets, files, endings, streams"""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
import time

import pytest

import lab
import program
from pace import in_time
from program import UID, WAIT, Holder, Run, gone_within, grown, packets, run, says, sending
from program import net, tmp, traffic  # noqa: F401  fixtures

pytestmark = program.here


# Usage


@pytest.mark.parametrize("args, message, hint", [
    (["curl", "--local"], "where the capture goes", "-o"),
    (["--local", "-o", "x.pcap"], "whose traffic", "--whole-device"),
    (["curl", "--local", "-o", "x.pcap", "--bogus"], "--bogus", "--help"),
    (["curl", "--local", "-o", "x.pcap", "-d", "soon"], "'soon'", "2.5"),
    (["curl", "--local", "-o", "x.pcap", "--nflog-group", "0"], "no NFLOG group", "65535"),
    (["curl", "--local", "-o", "-", "--json"], "stdout", "-o FILE"),
])
def test_usage_errors(net, args, message, hint):
    code, out, err = run(net, *args)
    assert code == 2
    assert out == ""
    says(err, message, hint)


def test_help_and_version(net):
    code, out, err = run(net, "--help")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    for option in ("--uid", "--tier", "--probe", "-o, --output", "Examples:"):
        assert option in out
    code, out, _ = run(net, "-V")
    assert code == 0 and re.fullmatch(r"apptap \d+\.\d+\.\d+\n", out)


def test_every_tier_works_here(net):
    """Tests run through the tiers that the probe offers: one that it lost must not go unnoticed."""
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    if kernel < (6, 6) or not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("needs Linux 6.6 with BTF, for the tier bpf")
    code, out, _ = run(net, "--probe", "--local", "--json")
    assert code == 0
    assert {t["name"]: t["works"] for t in json.loads(out)["tiers"]} == {
        "bpf": True, "nflog": True, "sockdiag": True}, out


def test_the_man_page_knows_every_option(net):
    with open(os.path.join(lab.REPO, "man", "apptap.1")) as f:
        page = f.read().replace("\\-", "-")
    _, out, _ = run(net, "--help")
    options = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", out, re.M))
    assert len(options) > 15
    assert not {o for o in options if not re.search(re.escape(o) + r"(?![\w-])", page)}


def test_interrupt_before_ready(net, tmp):
    """Whenever it comes: no agent is left, and no half file. Asked for at each stage of a start."""
    for wait in (0, 0.001, 0.003, 0.006, 0.012, 0.025, 0.05):
        r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap")
        time.sleep(wait)  # not synchronisation: the moment is what varies
        agents = []
        for pid in r.agents():
            with contextlib.suppress(OSError):
                agents.append(os.pidfd_open(pid))
        code = r.end(signal.SIGINT)
        assert code in (0, -signal.SIGINT), r.err  # by the signal itself before it is caught
        assert gone_within(agents, 1)
        if os.path.exists(f"{tmp}/x.pcap") and code == 0:
            assert packets(f"{tmp}/x.pcap") == 0


def test_probe(net):
    code, out, _ = run(net, "--probe", "--local", "--json")
    found = json.loads(out)["tiers"]
    assert "sockdiag" in [t["name"] for t in found]
    for t in found:
        assert t["gist"] and (t["works"] or t["reason"])
    assert code == (0 if any(t["works"] for t in found) else 3)
    code, out, _ = run(net, "--probe", "--local")
    assert re.search(r"^sockdiag +(yes|no) +\S", out, re.M)


# Targets


def test_unknown_name(net, tmp):
    path = f"{tmp}/x.pcap"
    code, _, err = run(net, "no-such-program-here", "--local", "-o", path)
    assert code == 1
    says(err, "no-such-program-here")
    assert not os.path.exists(path)  # nothing began: nothing is left


def test_dead_pid(net, tmp):
    gone = subprocess.Popen(["true"])
    gone.wait()
    code, _, err = run(net, gone.pid, "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    says(err, str(gone.pid))


def test_a_file_that_was_there_stays_when_nothing_begins(net, tmp):
    path = f"{tmp}/x.pcap"
    open(path, "w").close()
    assert run(net, "no-such-program-here", "--local", "-o", path)[0] == 1
    assert os.path.exists(path)


def test_pid_that_dies(net, tmp):
    with sending(net) as proc:
        r = Run(net, proc.pid, "--local", "-o", f"{tmp}/x.pcap").ready()
        proc.kill()
        proc.wait()
        r.until("has ended")
    with sending(net) as proc:  # the UID is captured on, whoever runs as it
        assert r.end(signal.SIGINT) == 0
    assert packets(f"{tmp}/x.pcap") >= 0


def test_a_hostile_process_name_does_not_reach_the_terminal(net, tmp):
    name = "\x1b[31mevil\x07"
    code, _, err = run(net, name, "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    assert "\x1b" not in err and "\x07" not in err and "?[31mevil?" in err


# Where the file goes


def test_missing_folder(net, tmp):
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/none/x.pcap")
    assert code == 1
    says(err, f"no folder '{tmp}/none'", "folder")


def test_unwritable_folder(net, tmp):
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap",
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert code == 1
    says(err, f"folder '{tmp}'", "-o FILE")


def test_folder_vanishes(net, tmp, traffic):
    os.mkdir(f"{tmp}/sub")
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/sub/x.pcap").ready()
    shutil.rmtree(f"{tmp}/sub")
    assert r.end(signal.SIGINT) == 1
    says(r.err, "was removed while it was written")


@pytest.mark.parametrize("path, message", [("/proc/x.pcap", "no file can be made there"),
                                           ("/tmp", "is a folder"), ("/tmp/", "a folder"),
                                           ("/dev/null/x.pcap", "is not a folder")])
def test_places_that_take_no_file(net, path, message):
    code, _, err = run(net, "--uid", UID, "--local", "-o", path)
    assert code == 1
    says(err, message, "")	# whatever it is that is to be tried


def test_file_mode(net, tmp):
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.05")[0] == 0
    assert stat.S_IMODE(os.stat(f"{tmp}/x.pcap").st_mode) == 0o600


def test_an_older_capture_is_replaced(net, tmp):
    with open(f"{tmp}/x.pcap", "wb") as f:
        f.write(b"old" * 10000)
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.05")[0] == 0
    assert packets(f"{tmp}/x.pcap") == 0


@pytest.mark.parametrize("trap", ["link", "dangling", "folder", "hardlink", "foreign"])
def test_shared_folders_hold_traps(net, tmp, trap):
    shared, victim = f"{tmp}/shared", f"{tmp}/victim"
    os.mkdir(shared)
    os.chmod(shared, 0o1777)
    os.mkdir(f"{tmp}/dir")
    with open(victim, "w") as f:
        f.write("precious")
    path = f"{shared}/x.pcap"
    if trap == "link":
        os.symlink(victim, path)
    elif trap == "dangling":
        os.symlink(f"{tmp}/new", path)
    elif trap == "folder":
        os.symlink(f"{tmp}/dir", f"{shared}/sub")
        path = f"{shared}/sub/x.pcap"
    elif trap == "hardlink":
        os.link(victim, path)
    else:
        with open(path, "w") as f:
            f.write("precious")
        os.chown(path, 65534, 65534)
    code, _, err = run(net, "--uid", UID, "--local", "-o", path, "-d", "0.05")
    assert code == 1, err
    says(err, path)
    assert open(victim).read() == "precious"
    assert not os.path.exists(f"{tmp}/new") and not os.listdir(f"{tmp}/dir")


def test_own_link_in_own_folder_is_followed(net, tmp):
    os.symlink(f"{tmp}/real.pcap", f"{tmp}/x.pcap")
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.05")[0] == 0
    assert os.path.islink(f"{tmp}/x.pcap") and packets(f"{tmp}/real.pcap") == 0


@pytest.mark.parametrize("ending", ["pcap", "pcapng"])
def test_full_disk(tmp, ending):
    disk = Holder("-n", "-m")
    try:
        disk.sh(f"mount -t tmpfs -o size=64k none {tmp}", "-m", "-n")
        with sending(disk, size=1000):
            r = Run(disk, "--uid", UID, "--local", "-o", f"{tmp}/x.{ending}", flags=("-n", "-m"))
            assert r.end() == 1  # ends by itself
        says(r.err, "No space left", "space")
        kept = f"/proc/{disk.proc.pid}/root{tmp}/x.{ending}"
        assert os.path.getsize(kept) > 50000
        assert packets(kept) > 40
    finally:
        disk.end()


def test_dev_null(net, traffic):
    assert run(net, "--uid", UID, "--local", "-o", "/dev/null", "-c", 5)[0] == 0


def test_fifo(net, tmp, traffic):
    os.mkfifo(f"{tmp}/fifo")
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/fifo", "-c", 5)
    with open(f"{tmp}/fifo", "rb") as f:
        data = f.read()
    assert r.end() == 0
    assert data[:4] == b"\xd4\xc3\xb2\xa1" and data.count(b"apptap-test") == 5


# Endings


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ending", ["pcap", "pcapng"])
def test_signals_end_with_a_complete_file(net, tmp, traffic, sig, ending):
    path = f"{tmp}/x.{ending}"
    r = Run(net, "--uid", UID, "--local", "-o", path).ready()
    grown(path, 2000)
    assert r.end(sig) == 0, r.err
    said = int(re.search(r"([\d,]+) packets? \(", r.err)[1].replace(",", ""))
    assert said == packets(path) > 10


@pytest.mark.parametrize("ignored, ends", [(signal.SIGINT, True), (signal.SIGHUP, False)])
def test_signals_that_a_shell_has_it_ignore(net, tmp, ignored, ends):
    """In a script's background kill -INT ends it, as it ends tcpdump; nohup means what it says."""
    was = signal.signal(ignored, signal.SIG_IGN)
    try:
        r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcapng")
    finally:
        signal.signal(ignored, was)
    r.ready().proc.send_signal(ignored)
    time.sleep(0 if ends else 0.3)  # that it stays cannot be waited for
    assert r.proc.poll() is None or ends
    assert r.end(None if ends else signal.SIGTERM) == 0
    assert packets(f"{tmp}/x.pcapng") >= 0


def test_two_interrupts_at_once(net, tmp, traffic):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcapng").ready()
    r.proc.send_signal(signal.SIGTERM)
    assert r.end(signal.SIGINT) == 0
    assert packets(f"{tmp}/x.pcapng") >= 0


def test_interrupt_for_the_whole_group(net, tmp, traffic):
    """What a terminal does on Ctrl-C: the agent gets it too, and must leave it to the host."""
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    for pid in r.agents():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert r.end(signal.SIGINT) == 0
    assert packets(f"{tmp}/x.pcap") >= 0


@pytest.mark.parametrize("count", [1, 7, 100])
@pytest.mark.parametrize("where", ["file", "stdout"])
def test_count_is_exact(net, tmp, count, where):
    path = f"{tmp}/x.pcap"
    with sending(net, every=0):  # as fast as it goes: more come at once than are wanted
        if where == "file":
            code, _, err = run(net, "--uid", UID, "--local", "-o", path, "-c", count)
        else:
            with open(path, "wb") as f, Piped(f) as pipe:
                code, _, err = run(net, "--uid", UID, "--local", "-o", "-", "-c", count, stdout=pipe)
    assert code == 0, err
    assert packets(path) == count


class Piped:
    """A pipe into a file: stdout that is no file."""

    def __init__(self, f):
        self.cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=f)

    def __enter__(self):
        return self.cat.stdin

    def __exit__(self, *exc):
        self.cat.stdin.close()
        self.cat.wait(WAIT)


def test_duration(net, tmp):
    begin = time.monotonic()
    assert run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.4", "-q")[0] == 0
    took = time.monotonic() - begin
    assert took >= 0.4 and in_time(took, 1.4), took


def test_ready_and_stop_are_quick(net, tmp, traffic):
    """The targets (50 and 100 ms) are measured by the benchmarks; this sees a second that crept in."""
    begin = time.monotonic()
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    ready = time.monotonic()
    assert r.end(signal.SIGINT) == 0
    end = time.monotonic()
    assert in_time(ready - begin, 0.5) and in_time(end - ready, 0.5), (ready - begin, end - ready)


def test_two_captures_at_once(net, tmp, traffic):
    a = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/a.pcap", "-c", 50)
    b = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/b.pcapng", "-c", 50)
    assert a.end() == 0 and b.end() == 0, a.err + b.err
    assert packets(f"{tmp}/a.pcap") == packets(f"{tmp}/b.pcapng") == 50


def test_interface_goes_away(net, tmp):
    net.sh("ip link add gone0 type veth peer name gone1; ip link set gone0 up; ip addr add 10.99.0.1/24 dev gone0")
    r = Run(net, "--uid", UID, "--local", "-i", "gone0", "-i", "lo", "-o", f"{tmp}/x.pcap").ready()
    net.sh("ip link del gone0")
    r.until("interface gone0 went away")
    with sending(net):
        grown(f"{tmp}/x.pcap", 2000)
        assert r.end(signal.SIGINT) == 0, r.err
    assert packets(f"{tmp}/x.pcap") > 10


def test_unknown_interface(net, tmp):
    code, _, err = run(net, "--uid", UID, "--local", "-i", "nope9", "-o", f"{tmp}/x.pcap", "-d",
                       "0.1")
    assert code == 1
    says(err, "nope9")


def test_a_packet_says_whose_it_is(net, tmp, traffic):
    for option, want in (((), f"uid {UID}"), (("--no-comments",), "")):
        path = f"{tmp}/x{len(option)}.pcapng"
        assert run(net, "--uid", UID, "--local", "-o", path, "-c", 3, *option)[0] == 0
        done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.comment"],
                              capture_output=True, text=True, check=True)
        # The process is looked for while packets pass: the first may be in the file without.
        lines = done.stdout.splitlines()
        assert len(lines) == 3, lines
        assert all(line == want or (want and line.startswith(f"{want} pid ")) for line in lines), lines


def test_json(net, tmp, traffic):
    path = f"{tmp}/x.pcapng"
    code, out, _ = run(net, "--uid", UID, "--local", "-o", path, "-c", 20, "--json", "-s", 128)
    assert code == 0 and out.count("\n") == 1
    got = json.loads(out)
    assert set(got) == {"apptap", "tier", "uids", "cgroups", "processes", "netns", "whole_device", "path", "format", "linktype",
                        "snaplen", "ended_by", "duration_ms", "clock", "counters", "connections_total",
                        "connections", "warnings", "error"}
    assert got["path"] == path and got["format"] == "pcapng" and got["linktype"] == 276
    assert got["uids"][0]["uid"] == UID and got["ended_by"] == "count" and got["error"] is None
    assert got["counters"]["packets"] == 20 and got["snaplen"] == 128
    assert got["counters"]["bytes"] == os.path.getsize(path)
    assert sum(c["packets_in"] + c["packets_out"] for c in got["connections"]) == 20
    assert got["connections"][0]["protocol"] == "udp" and got["connections"][0]["uid"] == UID
    assert got["connections"][0]["local"].startswith("127.0.0.1:")


@pytest.mark.parametrize("snaplen", [1, 28])
def test_a_short_snaplen_cuts_the_file_alone(net, tmp, traffic, tier, snaplen):
    """Below the headers too: the tier is the one asked for, and the connections have their ports."""
    path = f"{tmp}/x.pcapng"
    code, out, err = run(net, "--uid", UID, "--local", "-o", path, "-c", 20, "--json", "-s", snaplen, "--tier", tier)
    assert code == 0, err
    got = json.loads(out)
    assert got["tier"] == tier and not got["warnings"], got
    assert sum(c["packets_in"] + c["packets_out"] for c in got["connections"]) == 20
    assert {c["local"] for c in got["connections"]} == {c["remote"] for c in got["connections"]}
    assert all(not c["local"].endswith(":0") for c in got["connections"])
    done = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len"],
                          capture_output=True, text=True, timeout=WAIT)
    assert set(done.stdout.split("\n")) == {f"{20 + snaplen}\t{20 + 28 + 21}", ""}


def test_processes_told_apart_less_exactly_are_warned_of(net, tmp, traffic):
    """Where auto cannot have bpf, it says what is lost by that, and why."""
    for options, warned in (((), True), (("--tier", "sockdiag"), False)):
        code, _, err = run(net, "--pid", traffic.pid, "--tree", "--local", "-o", f"{tmp}/x.pcapng", "-c", 1, *options,
                           prefix=("setpriv", "--bounding-set=-bpf,-sys_admin"))
        assert code == 0 and "with sockdiag" in err
        assert ("less exactly, for the tier bpf does not work here: loading" in err) == warned, err


def test_the_file_says_whose_a_process_is(net, tmp, traffic):
    path = f"{tmp}/x.pcapng"
    assert run(net, "--pid", traffic.pid, "--tree", "--local", "-o", path, "-c", 1)[0] == 0
    done = subprocess.run(["capinfos", path], capture_output=True, text=True, timeout=WAIT)
    assert f"PID {traffic.pid} and descendants (" in done.stdout


def test_json_of_a_failure(net, tmp):
    code, out, err = run(net, "no-such-program-here", "--local", "-o", f"{tmp}/x.pcap", "--json")
    assert code == 1 and "no-such-program-here" in json.loads(out)["error"]["message"]
    says(err, "no-such-program-here")


def test_quiet_is_quiet(net, tmp, traffic):
    code, out, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-c", 3, "-q",
                         "--strict")
    assert (code, out, err) == (0, "", "")


# Streams


def test_stream_is_live(net, traffic):
    r = Run(net, "--uid", UID, "--local", "-o", "-")
    with subprocess.Popen(["tshark", "-n", "-l", "-r", "-"], stdin=r.proc.stdout,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tshark:
        ready, _, _ = select.select([tshark.stdout], [], [], WAIT)
        assert ready and b"127.0.0.1" in tshark.stdout.readline()
        assert r.proc.poll() is None  # it still runs: the packets came while it did
        r.proc.stdout.close()
        r.proc.stdout = None
        assert r.end(signal.SIGINT) == 0, r.err
        tshark.stdout.read()


@pytest.mark.parametrize("busy", [True, False])
def test_reader_goes_away(net, busy):
    with contextlib.ExitStack() as stack:
        if busy:
            stack.enter_context(sending(net))
        r = Run(net, "--uid", UID, "--local", "-o", "-").ready()
        os.read(r.proc.stdout.fileno(), 24)
        r.proc.stdout.close()
        r.proc.stdout = None
        assert r.end() == 1
    says(r.err, "the reader closed the stream")


def test_stalled_reader_does_not_hold_us(net):
    with sending(net, size=30000, every=0.0005):
        r = Run(net, "--uid", UID, "--local", "-o", "-").ready()
        agents = [os.pidfd_open(p) for p in r.agents()]
        assert agents
        end, held, lately = time.monotonic() + WAIT, 0, -1
        while (held < 30000 or held != lately) and time.monotonic() < end:	# until no more goes in
            lately = held
            time.sleep(0.3)
            held = pending(r.proc.stdout)
        r.proc.send_signal(signal.SIGINT)
        assert r.proc.poll() is None
        time.sleep(0.2)  # so that they are two, not one pending signal
        r.proc.send_signal(signal.SIGINT)
        assert r.proc.wait(WAIT) == 1
        assert gone_within(agents, 1)
        r.end()


def pending(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def test_no_capture_into_a_terminal(net):
    ours, theirs = pty.openpty()
    code, _, err = run(net, "--uid", UID, "--local", "-o", "-", stdout=theirs)
    os.close(ours)
    os.close(theirs)
    assert code == 2
    says(err, "terminal", "tshark")


def test_status_line(net, tmp, traffic):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap", "-d", "0.9", stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while True:
            seen += os.read(ours, 4096)
    os.close(ours)
    assert r.end() == 0
    lines = re.findall(rb"\r(\d+:\d\d  [^\r\n\x1b]*)", seen)
    assert len(lines) >= 2, seen
    assert all(len(line) < 40 for line in lines) and b"packets" in lines[0]
    assert re.search(rb"\x1b\[K[^\r]*\r\n", seen)  # taken away before the summary
