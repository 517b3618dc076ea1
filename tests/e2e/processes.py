"""processes.py - which processes there are: a capture's own, its agent, what runs below it"""
import ctypes
import os
import signal
import time

from pace import WAIT

LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """PR_SET_PDEATHSIG: not even a killed test run leaves a capture behind."""
    LIBC.prctl(1, signal.SIGKILL)


def everybody():
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]


def words(pid):
    """What the process was called with; nothing, where it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def family(pid):
    """The process and its descendants."""
    pids = [pid]
    for parent in pids:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as f:
                    pids += map(int, f.read().split())
        except OSError:
            pass
    return pids


def descendants(pid):
    return family(pid)[1:]


def agent_of(tool):
    """The PID of the capture's agent, as soon as there is one."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        for pid in family(tool.proc.pid):
            if "--agent" in words(pid):
                return pid
    raise AssertionError("no agent was started")
