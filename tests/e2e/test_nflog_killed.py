"""The tier nflog, killed at any moment: its rules go, by the kernel's hand or by the guardian's."""
import os
import random
import signal
import time

import lab as lab_module
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
        os.kill(pid, signal.SIGKILL)
        tool.proc.wait(lab_module.WAIT)
        tool.reader.join(lab_module.WAIT)
        wait_until_same(lab, present)
        lab.captures.remove(tool)
    assert alive >= KILLS / 10, f"only {alive} of {KILLS} had rules when they were killed"


def wait_until_same(lab, before, timeout=lab_module.WAIT):
    """The kernel closes a dead process's sockets in its own time."""
    end = time.monotonic() + timeout
    while ruleset(lab) != before:
        assert time.monotonic() < end, ruleset(lab)
