"""pace.py - how fast this machine is now, and how long a test waits for it

Two kinds of limits. WAIT ends what hangs: it is long, and who passes never sees it. A promise ("gone
within 2 s") was made for a machine that is not busy with something else: in_time() holds it against
the machine as it is. What the product takes when nothing disturbs it, the benchmarks measure.
"""
import contextlib
import fcntl
import os
import select
import time

PATIENCE = int(os.environ.get("APPTAP_PATIENCE", "1"))	# how many times slower than a real machine this is
WAIT = 60 * PATIENCE	# seconds until a step counts as stuck
TURNS, TAKES_S = 400_000, 0.025	# a piece of work, and its time on an idle CPU of 2023


def slowness():
    """How many times longer than on an idle CPU a little work takes, here and now; at least 1."""
    begin = time.monotonic()
    for _ in range(4):	# with sleeps between: who wakes up has to wait for its turn
        time.sleep(0.005)
        for _ in range(TURNS // 4):
            pass
    return max(1.0, PATIENCE, (time.monotonic() - begin - 0.02) / TAKES_S)


def in_time(took, promised):
    """Whether it came in the time promised, None if it never came; a slow machine gets more."""
    return took is not None and (took < promised or took < promised * 2 * slowness())


# The lanes of ./dev check: "exact FILE" counts packets, "polite FILE" gives way.
LANE, _, TURNSTILE = os.environ.get("APPTAP_LANE", "").partition(" ")


@contextlib.contextmanager
def passing(how):
    """Through the turnstile: many beside each other, or one alone; who waits to be alone is next."""
    with open(f"{TURNSTILE}.gate", "w") as gate, open(TURNSTILE, "w") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, how)
        if how == fcntl.LOCK_SH:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def beside():
    """A test of a polite lane: not while somebody is alone."""
    return passing(fcntl.LOCK_SH) if LANE == "polite" else contextlib.nullcontext()


def alone():
    """No polite lane is in a test then."""
    return passing(fcntl.LOCK_EX) if LANE == "exact" else contextlib.nullcontext()


def ended(proc, timeout):
    """Waits for its end. Popen.wait(timeout) sleeps up to 50 ms too long, hundreds of times a run."""
    if proc.poll() is not None:
        return True
    fd = os.pidfd_open(proc.pid)	# our child's, and not waited for: it cannot be another's number
    try:
        return bool(select.select([fd], [], [], timeout)[0])
    finally:
        os.close(fd)
