"""The tier nflog, killed at any moment: its rules go, by the kernel's hand or by the guardian's."""
import os
import random
import re
import signal
import time

import lab as lab_module
import program
import test_nflog
from test_nflog import backend, present, ruleset  # noqa: F401 (two are fixtures)

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


def held_open(pids):
    fds = []
    for pid in pids:
        try:
            fds.append(os.pidfd_open(pid))
        except ProcessLookupError:
            pass
    return fds


def with_rules(text):
    """Without chains of iptables' own that have no rule: on a busy machine one or two of those stay
    behind, empty, that iptables-nft has made for ours (docs/attribution.md)."""
    return re.sub(r"\tchain [A-Z]+ \{\n\t\ttype [^\n]*policy accept;\n\t\}\n\n?", "", text).replace("\n\n", "\n")


def wait_until_same(lab, before, timeout=lab_module.WAIT):
    """The kernel closes a dead process's sockets in its own time."""
    end = time.monotonic() + timeout
    while with_rules(ruleset(lab)) != with_rules(before):
        assert time.monotonic() < end, ruleset(lab)
