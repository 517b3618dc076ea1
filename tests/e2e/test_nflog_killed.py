"""The tier nflog, killed at any moment: its rules go, by the kernel's hand or by the guardian's."""
import os
import random
import shutil
import signal
import time

import pytest

import lab as lab_module
import program
import test_nflog
from test_nflog import UFW_LIKE, backend, inside, present, ruleset  # noqa: F401 (two are fixtures)

pytestmark = test_nflog.pytestmark
KILLS = int(os.environ.get("APPTAP_KILLS", "30"))	# the kernel and the guardian have stood 100 of them


def test_killed_at_any_moment(lab, present, backend):  # noqa: F811
    """SIGKILL of the agent at any moment of its life: the kernel takes our rules away with it, or the
    guardian does."""
    rng = random.Random(3)
    alive = 0
    first = lab.apptap(tier="nflog", name="first.pcapng").wait_ready()
    assert first.stop() == 0
    for i in range(KILLS):
        tool = lab.apptap(tier="nflog", name=f"killed-{i}.pcapng")
        pid = lab_module.agent_of(tool)
        time.sleep(rng.uniform(0.0, 1.5 * first.ready_s))	# the moment is what is tried
        os.kill(pid, signal.SIGSTOP)	# so that it is known what it had then
        alive += "apptap_" in ruleset(lab).lower()
        below = held_open(lab_module.family(pid))
        os.kill(pid, signal.SIGKILL)
        tool.proc.wait(lab_module.WAIT)
        tool.reader.join(lab_module.WAIT)
        # A guardian, and what the agent had just started, may still be at work.
        assert program.gone_within(below, lab_module.WAIT)
        for fd in below:
            os.close(fd)
        wait_until_same(lab, present)
        lab.captures.remove(tool)
    assert alive >= KILLS / 10, f"only {alive} of {KILLS} had rules when they were killed"


# Programs that are in the way of ip6tables-restore, by Debian's links.
LINKS = "/etc/alternatives"
IN_THE_WAY = {
    "slow": "sleep 1; exec {} \"$@\"",
    "refused": "exit 1",
}


@pytest.fixture(params=IN_THE_WAY)
def one_family(request, lab, monkeypatch, tmp_path):
    """iptables does what it is told at once, ip6tables later or not at all. Returns what starts AppTap so."""
    monkeypatch.setenv("APPTAP_RULES", "iptables")
    link = f"{LINKS}/ip6tables-restore"
    if not os.path.exists(link):
        pytest.skip("needs iptables, and Debian's links to it")
    script = tmp_path / "restore"
    script.write_text("#!/bin/sh\n" + IN_THE_WAY[request.param].format(os.readlink(link)) + "\n")
    script.chmod(0o755)
    env = ["unshare", "-m", "sh", "-ec",
           f'cp -a {LINKS}/. "$0/links"; ln -sf "$0/restore" "$0/links/ip6tables-restore"; '
           f'mount --bind "$0/links" {LINKS}; exec "$@"', str(tmp_path)]
    (tmp_path / "links").mkdir()
    return request.param, lambda: lab.apptap(tier="nflog", env=env)


def test_killed_between_the_families(lab, one_family):
    """The rules of one family are there, those of the other are not yet, or never: all goes, and nothing comes
    later."""
    how, start = one_family
    inside(lab, "iptables-restore", "--noflush", stdin=UFW_LIKE)
    inside(lab, "ip6tables-restore", "--noflush", stdin=UFW_LIKE)
    before = ruleset(lab)
    tool = start()
    if how == "slow":
        agent = lab_module.agent_of(tool)
        end = time.monotonic() + lab_module.WAIT
        while "APPTAP_" not in ruleset(lab):
            assert time.monotonic() < end, tool.talk
        below = held_open(lab_module.family(agent))
        os.kill(agent, signal.SIGKILL)
        tool.proc.wait(lab_module.WAIT)
        assert program.gone_within(below, lab_module.WAIT)
        for fd in below:
            os.close(fd)
    else:
        assert tool.wait_ready().stop() == 0 and tool.json()["tier"] == "sockdiag", tool.talk
    after = ruleset(lab)
    inside(lab, "nft", "flush", "ruleset")
    assert after == before


@pytest.mark.parametrize("kill", [False, True], ids=["ended", "killed"])
def test_the_last_of_several(lab, monkeypatch, kill):
    """What iptables has made for the first of them goes with the last, whichever that is: the next starts
    before the one before it, or its guardian, is done."""
    monkeypatch.setenv("APPTAP_RULES", "iptables")
    if not shutil.which("iptables-nft-restore"):
        pytest.skip("needs iptables-nft")
    before, tools, below = ruleset(lab), [], []
    for i in range(4):
        tools.append(lab.apptap(tier="nflog", name=f"{i}.pcapng").wait_ready())
        if i and kill:
            agent = lab_module.agent_of(tools[i - 1])
            below += held_open(lab_module.family(agent))
            os.kill(agent, signal.SIGKILL)
        elif i:
            assert tools[i - 1].stop() == 0
    assert tools[-1].stop() == 0 and tools[-1].json()["tier"] == "nflog"
    assert program.gone_within(below, lab_module.WAIT)
    for fd in below:
        os.close(fd)
    after = ruleset(lab)
    inside(lab, "nft", "flush", "ruleset")
    assert after == before


def held_open(pids):
    fds = []
    for pid in pids:
        try:
            fds.append(os.pidfd_open(pid))
        except ProcessLookupError:
            pass
    return fds


def wait_until_same(lab, before, timeout=lab_module.WAIT):
    """The kernel closes a dead process's sockets in its own time."""
    end = time.monotonic() + timeout
    while ruleset(lab) != before:
        assert time.monotonic() < end, ruleset(lab)
