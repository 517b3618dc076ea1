"""A link over which nothing comes any more, and which does not end either: both sides notice, and
neither takes a slow one for a dead one."""
import os
import signal
import time

import pytest

import lab
import phone as phone_module
from pace import WAIT, in_time
from phone import APP, PACKAGE, Phone, until
from test_adb import numbers, payloads

PATIENCE = 1.5	# seconds that the host waits; the agent three times as long
ENV = (("APPTAP_SILENCE_MS", str(int(PATIENCE * 1000))),)


@pytest.fixture(scope="module")
def phone():
    reason = phone_module.why_not()
    if reason:
        pytest.skip(reason)
    with Phone() as p:
        yield p


@pytest.fixture
def capture(phone, tmp_path):
    """One that has begun to fill its file."""
    path = str(tmp_path / "x.pcapng")
    sender = phone.sender(APP, "app", size=200)
    c = phone.capture(PACKAGE, "--device", phone.serial, output=path, env=ENV).wait_ready()
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    yield c
    sender.say("end")
    sender.line()


def halt(pids, sig):
    for pid in pids:
        os.kill(pid, sig)


def test_the_host_gives_a_silent_link_up(phone, capture):
    daemons = phone.pids("adbd")
    halt(daemons, signal.SIGSTOP)
    start = time.monotonic()
    try:
        code = capture.proc.wait(WAIT)
        took = time.monotonic() - start
    finally:
        halt(daemons, signal.SIGCONT)
    assert code == 1 and "nothing has come over adb" in "\n".join(capture.talk), capture.talk
    assert PATIENCE * 0.8 < took and in_time(took, PATIENCE + 5), took
    got = numbers(payloads(capture.path), b"app")
    assert got == list(range(got[0], got[-1] + 1))
    assert until(lambda: not phone.leftovers()) is not None, phone.leftovers()


@pytest.mark.at_leisure
def test_the_agent_ends_when_its_host_is_silent(phone, capture):
    """The host and what carries the link are there, but stand still."""
    halted = [capture.proc.pid, *phone.client_pids()]
    halt(halted, signal.SIGSTOP)
    try:
        took = until(lambda: not phone.leftovers())
    finally:
        halt(halted, signal.SIGCONT)
    assert took is not None and took > 2 * PATIENCE, (took, phone.leftovers())
    assert capture.proc.wait(WAIT) == 1
    got = numbers(payloads(capture.path), b"app")
    assert got == list(range(got[0], got[-1] + 1))


@pytest.mark.at_leisure
def test_a_slow_reader_is_not_a_dead_one(phone, tmp_path):
    """Nobody takes the stream for longer than both sides' patience: nothing ends, all of it comes."""
    fifo = str(tmp_path / "pipe")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    c = phone.capture(PACKAGE, "--device", phone.serial, output=fifo, env=ENV)
    try:
        c.wait_ready()
        sender = phone.sender(APP, "app", size=4000)
        time.sleep(3 * PATIENCE + 1)
        sender.say("end")
        sent = int(sender.line())
        assert c.proc.poll() is None and phone.pids("apptap")
        path = str(tmp_path / "x.pcapng")
        os.set_blocking(reader, True)
        c.proc.send_signal(signal.SIGINT)
        with open(path, "wb") as f:
            while chunk := os.read(reader, 1 << 20):
                f.write(chunk)
    finally:
        os.close(reader)
    assert c.proc.wait(WAIT) == 0, c.talk
    assert len(set(numbers(payloads(path), b"app"))) == sent, (sent, c.talk)
