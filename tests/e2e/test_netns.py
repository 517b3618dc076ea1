"""test_netns.py - a capture where the app's network is, which need not be where we are"""
import json
import os
import subprocess
import sys
import uuid

import pytest

import processes
import program
from program import UID, packets, run, says, sending
from program import net, tmp  # noqa: F401  fixtures
from test_cgroup import cgroup  # noqa: F401  a fixture

pytestmark = program.here
HERE = ("--",)	# nsenter without a namespace: where the test runs


@pytest.fixture
def named(net):
    """The namespace of @net under a name, as `ip netns` keeps them."""
    name = f"at-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "attach", name, str(net.proc.pid)], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def capture(net, tmp, *target):
    """Three packets of UID 5001, whose traffic is in @net only, captured from here."""
    path = f"{tmp}/x.pcapng"
    code, out, err = run(net, *target, "--local", "-o", path, "-c", 3, "--json", flags=HERE)
    assert code == 0, err
    assert packets(path) == 3
    return json.loads(out), err


def test_by_pid_it_is_found(net, tmp):
    with sending(net) as proc:
        got, err = capture(net, tmp, proc.pid)
    assert got["netns"] == str(proc.pid)
    assert f"in the network namespace of process {proc.pid}" in err


@pytest.mark.parametrize("form", ["{name}", "/run/netns/{name}", "{pid}", "/proc/{pid}/ns/net"])
def test_by_its_name_path_or_pid(net, tmp, named, form):
    where = form.format(name=named, pid=net.proc.pid)
    with sending(net):
        got, _ = capture(net, tmp, "--uid", UID, "--netns", where)
    assert got["netns"] == where


def test_of_a_cgroup_it_is_found(net, tmp, cgroup):
    """As of a container: its processes are in another namespace."""
    with sending(net) as proc:
        with open(f"{cgroup}/cgroup.procs", "w") as f:
            f.write(str(processes.family(proc.pid)[:2][-1]))
        # Its socket is older than its place in the cgroup: a new one is needed.
        sender = net.enter("-n") + ["sh", "-c", f"echo $$ >{cgroup}/cgroup.procs; exec \"$@\"", "sh",
                                    sys.executable, "-c", program.SENDER % (UID, UID), "10", "0.002"]
        with subprocess.Popen(sender, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"sending\n"
            try:
                got, _ = capture(net, tmp, "--cgroup", cgroup)
            finally:
                other.kill()
    assert got["netns"]


@pytest.mark.parametrize("where, said", [
    ("/etc/passwd", "'/etc/passwd' is no network namespace"),
    ("4194303", "there is no network namespace '4194303'"),
    ("at-0\033[1m", "'at-0?[1m'"),
    ("/proc/self/ns/mnt", "is no network namespace"),
])
def test_what_is_none_is_refused(net, tmp, where, said):
    code, _, err = run(net, "--uid", UID, "--netns", where, "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    says(err, said, "")
    assert not os.path.exists(f"{tmp}/x.pcap")


def test_a_fifo_holds_nobody_up(net, tmp):
    os.mkfifo(f"{tmp}/fifo")
    code, _, err = run(net, "--uid", UID, "--netns", f"{tmp}/fifo", "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    says(err, "no network namespace")


def test_near_names_are_listed(net, tmp, named):
    code, _, err = run(net, "--uid", UID, "--netns", named[:-1], "--local", "-o", f"{tmp}/x.pcap")
    assert code == 1
    says(err, f"'{named}'")
