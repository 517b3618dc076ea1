"""test_cli_rights.py - as root, by sudo, or not at all; and what is left when somebody is killed"""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import program
from program import APPTAP, UID, Holder, Run, gone_within, grown, packets, run, says, sending
from program import net, tmp, traffic  # noqa: F401  fixtures

pytestmark = program.here


def test_no_sudo_rights(net, tmp):
    os.chmod(tmp, 0o777)
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap",
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert code == 1
    says(err, "needs root", "root")
    assert not os.path.exists(f"{tmp}/x.pcap")


def test_no_sudo_at_all(net, tmp):
    os.chmod(tmp, 0o777)
    code, _, err = run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap",
                       prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               "env", "PATH=/nowhere"))
    assert code == 1
    says(err, "sudo is not installed", "root")


@pytest.fixture(params=["use_pty", "!use_pty", "log_input, log_output"])
def sudoer(request, tmp):
    """A user who may run sudo, in a mount namespace of our own: the machine's files stay.

    Where sudo logs what passes, pipes of its own stand between, and no descriptor can be handed over.
    """
    if not shutil.which("sudo"):
        pytest.skip("needs sudo")
    holder = Holder("-n", "-m")
    with open("/etc/passwd") as f:
        passwd = f.read()
    files = {
        "passwd": passwd + "apptaptest:*:54321:54321::/:/bin/sh\n",
        "sudoers": f"Defaults {request.param}\nDefaults iolog_dir={tmp}/log\nroot ALL=(ALL) ALL\n"
                   "apptaptest ALL=(root) NOPASSWD: ALL\n",
    }
    for name, text in files.items():
        with open(f"{tmp}/{name}", "w") as f:
            f.write(text)
    os.chmod(f"{tmp}/sudoers", 0o440)
    shutil.copy(APPTAP, f"{tmp}/apptap")  # the build folder may be closed to others
    holder.sh(f"mount --bind {tmp}/passwd /etc/passwd; mount --bind {tmp}/sudoers /etc/sudoers",
              "-m", "-n")
    os.mkdir(f"{tmp}/out")
    os.chown(f"{tmp}/out", 54321, 54321)
    yield holder, request.param
    holder.end()


def as_user(holder, tmp, *args, **kw):
    r = Run.__new__(Run)
    r.err = ""
    r.proc = subprocess.Popen(
        holder.enter("-n", "-m") + ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
                                    f"{tmp}/apptap", *map(str, args)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)
    return r


def test_by_sudo(sudoer, tmp):
    holder, _ = sudoer
    path = f"{tmp}/out/x.pcapng"
    with sending(holder, size=500):
        r = as_user(holder, tmp, "--uid", UID, "--local", "-o", path).ready()
        assert os.stat(path).st_uid == 54321
        grown(path, 10000)
        assert r.end(signal.SIGINT) == 0, r.err
    said = int(re.search(r"([\d,]+) packets? \(", r.err)[1].replace(",", ""))
    assert said == packets(path) > 10


def test_by_sudo_the_count_is_exact(sudoer, tmp):
    holder, _ = sudoer
    with sending(holder):
        r = as_user(holder, tmp, "--uid", UID, "--local", "-o", f"{tmp}/out/x.pcap", "-c", 33)
        assert r.end() == 0, r.err
    assert packets(f"{tmp}/out/x.pcap") == 33


def test_by_sudo_a_killed_host_leaves_nothing(sudoer, tmp):
    holder, _ = sudoer
    r = as_user(holder, tmp, "--uid", UID, "--local", "-o", f"{tmp}/out/x.pcap").ready()
    below = [os.pidfd_open(p) for p in r.agents()]
    assert len(below) >= 2  # sudo and the agent
    r.end(signal.SIGKILL)
    assert gone_within(below, 1)


def test_by_sudo_what_was_there_stays_until_it_begins(sudoer, tmp):
    holder, _ = sudoer
    path = f"{tmp}/out/x.pcap"
    with open(path, "w") as f:
        f.write("precious" * 1000)
    os.chown(path, 54321, 54321)
    r = as_user(holder, tmp, "no-such-program-here", "--local", "-o", path)
    assert r.end() == 1
    with open(path) as f:
        assert f.read() == "precious" * 1000
    with sending(holder):
        assert as_user(holder, tmp, "--uid", UID, "--local", "-o", path, "-c", 7).end() == 0
    assert packets(path) == 7


def test_by_sudo_full_disk(sudoer, tmp):
    holder, _ = sudoer
    holder.sh(f"mount -t tmpfs -o size=64k,uid=54321 none {tmp}/out", "-m", "-n")
    with sending(holder, size=1000):
        r = as_user(holder, tmp, "--uid", UID, "--local", "-o", f"{tmp}/out/x.pcap")
        assert r.end() == 1
    says(r.err, "No space left", "space")
    assert packets(f"/proc/{holder.proc.pid}/root{tmp}/out/x.pcap") > 20


# What is left behind


def test_a_killed_host_leaves_no_agent(net, tmp, traffic):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    agents = [os.pidfd_open(p) for p in r.agents()]
    assert len(agents) == 1
    r.end(signal.SIGKILL)
    assert gone_within(agents, 1)
    assert packets(f"{tmp}/x.pcap") >= 0  # and the file is whole, for the agent saw its host end


def test_a_killed_agent_is_told(net, tmp):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    for pid in r.agents():
        os.kill(pid, signal.SIGKILL)
    assert r.end() == 1
    says(r.err, "the agent ended before it was done")


def test_the_agent_keeps_few_rights(net, tmp):
    r = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    (agent,) = r.agents()
    with open(f"/proc/{agent}/status") as f:
        status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
    assert r.end(signal.SIGINT) == 0
    kept = {2, 12, 13, 19, 23}  # DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_NICE
    for name in ("CapEff", "CapPrm", "CapBnd"):
        bits = int(status[name], 16)
        assert {n for n in range(64) if bits >> n & 1} <= kept, name
    assert status["NoNewPrivs"] == "1"


@pytest.fixture(scope="module", autouse=True)
def pushed():
    """A file as a host pushes it, from when this module's tests begin."""
    path = f"/tmp/.apptap-test-{os.getpid():08x}"
    with open(path, "wb"):
        begun = time.monotonic()
    yield path, begun
    if os.path.exists(path):
        os.unlink(path)


def test_cleanup_leaves_alone_what_a_start_has_pushed(net):
    path = f"/tmp/.apptap-test-{os.getpid():08x}-now"
    with open(path, "wb"):
        pass
    try:
        code, out, _ = run(net, "--cleanup", "--local", "--json")
        assert code == 0 and json.loads(out)["files_in_use"] >= 1 and os.path.exists(path)
    finally:
        os.unlink(path)


def test_cleanup_leaves_an_agent_alone_while_it_runs(net):
    folder = "/var/lib/.apptap"
    os.makedirs(folder, 0o700, exist_ok=True)
    agent = shutil.copy("/bin/sleep", f"{folder}/apptap-{os.getpid():016x}")
    with subprocess.Popen([agent, "1000"]) as running:
        try:
            assert run(net, "--cleanup", "--local")[0] == 0 and os.path.exists(agent)
        finally:
            running.kill()
    assert run(net, "--cleanup", "--local")[0] == 0 and not os.path.exists(agent)


def test_cleanup_ends_a_stuck_agent_and_leaves_a_live_one(net, tmp):
    os.mkfifo(f"{tmp}/in")
    hold = os.open(f"{tmp}/in", os.O_RDWR)
    # Its parent ends at once: the agent is left to init, with a stdin that never ends.
    stuck = int(subprocess.run(["sh", "-c", f"{APPTAP} --agent <{tmp}/in >/dev/null 2>&1 & echo $!"],
                               capture_output=True, text=True).stdout)
    fd = os.pidfd_open(stuck)
    live = Run(net, "--uid", UID, "--local", "-o", f"{tmp}/x.pcap").ready()
    code, out, _ = run(net, "--cleanup", "--local", "--json")
    assert code == 0
    got = json.loads(out)
    assert got["agents_ended"] >= 1 and got["agents_live"] >= 1
    assert gone_within([fd], 1)
    assert live.proc.poll() is None and live.end(signal.SIGINT) == 0
    os.close(hold)
    code, out, _ = run(net, "--cleanup", "--local")
    assert code == 0 and "agents without a host: none" in out


def test_cleanup_lets_a_capture_end(net, tmp):
    """Its host has let go of the agent by then, and the agent writes the last of it."""
    for _ in range(5):
        live = Run(net, "--uid", UID, "--local", "--tier", "sockdiag", "-o", f"{tmp}/x.pcap").ready()
        live.proc.send_signal(signal.SIGINT)
        code, out, _ = run(net, "--cleanup", "--local", "--json")
        assert code == 0 and json.loads(out)["agents_ended"] == 0, out
        assert live.proc.wait(10) == 0, live.err


def test_cleanup_removes_what_a_start_did_not_go_on_with(net, pushed):
    """The last here, so that it need not wait: no start lasts for that long."""
    path, begun = pushed
    time.sleep(max(0.0, begun + 16 - time.monotonic()))
    code, out, _ = run(net, "--cleanup", "--local", "--json")
    assert code == 0 and not os.path.exists(path)
