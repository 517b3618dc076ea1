"""The lab itself: a full capture in the tool's place is caught leaking, a perfect one passes, and
one packet missing, twice, or a stranger's is seen."""
import itertools
import os
import subprocess

import pytest

import lab as lab_module
import truth

SOME = ("tcp_short", "dns", "fragments", "ping", "raw", "refused", "loopback", "loopback_udp",
        "port_reuse", "port_reuse_tcp")


def tcpdump(*argv):
    subprocess.run(["tcpdump", "-Z", "root", "-nn", "--nano", *argv], check=True,
                   capture_output=True)


@pytest.fixture(scope="module")
def seen(shared_lab):
    """A mix of classes, captured whole in the tool's place."""
    names = [lab_module.BY_NAME[n] for n in SOME]
    outcome = shared_lab.run(names, shared_lab.tcpdump)
    yield outcome, [shared_lab.file(f"reference-{i}.pcap") for i in ("veth0", "lo")]
    shared_lab.clear()


def test_a_full_capture_is_caught_in_every_class(seen):
    outcome, _ = seen
    for name in SOME:
        tally = outcome.tally(lab_module.BY_NAME[name])
        assert tally.expected and tally.bystander, name
        assert tally.recall == 1, outcome.report.complain(tally)
        assert len(tally.leaked) >= tally.bystander, name
        assert not tally.extra, outcome.report.complain(tally)


def test_a_perfect_filter_passes(seen, shared_lab):
    outcome, reference = seen
    first = "portrange 20000-29999 or ip proto 253 or ip6 proto 253"
    path = shared_lab.file("perfect.pcap")
    tcpdump("-r", outcome.tool.path, "-w", path, first)
    report = truth.compare(reference, path)
    for name in ("tcp_short", "dns", "loopback"):
        tally = report.slots[lab_module.BY_NAME[name].slot]
        assert tally.recall == 1 and not tally.leaked and not tally.extra, report.complain(tally)
    assert not report.total.leaked, report.complain()
    assert not report.total.extra, report.complain()


def test_one_packet_too_few_too_many_or_a_stranger_is_seen(seen, shared_lab):
    outcome, reference = seen
    start = min(ts for ts, _ in truth.packets(reference[0]))
    whole = shared_lab.file("whole.pcap")
    tcpdump("-r", outcome.tool.path, "-w", whole, "portrange 20000-29999")
    expected = truth.compare(reference, whole, start).total
    with open(whole, "rb") as f:
        data = f.read()
    at = end = 24
    for i in itertools.count():	# well behind the first: before the reference began nothing counts
        at, end = end, end + 16 + int.from_bytes(data[end + 8:end + 12], "little")
        if i >= 50 and has_app_port(data[at:end]):
            break
    for name, changed in (("missing", data[:at] + data[end:]), ("extra", data + data[at:end]),
                  ("leaked", data[:at] + move_port(data[at:end]) + data[end:])):
        path = shared_lab.file("changed.pcap")
        with open(path, "wb") as f:
            f.write(changed)
        total = truth.compare(reference, path, start).total
        assert len(getattr(total, name)) == len(getattr(expected, name)) + 1, name


def shuffled(path, out, step):
    """The capture with its records in another order: every step-th first, then the next ones."""
    with open(path, "rb") as f:
        data = f.read()
    found, at = [], 24
    while at < len(data):
        end = at + 16 + int.from_bytes(data[at + 8:at + 12], "little")
        found.append(data[at:end])
        at = end
    with open(out, "wb") as f:
        f.write(data[:24] + b"".join(b"".join(found[i::step]) for i in reversed(range(step))))


def test_the_order_in_the_file_says_nothing_about_the_owner(seen, shared_lab):
    outcome, reference = seen
    start = min(ts for ts, _ in truth.packets(reference[0]))
    path = shared_lab.file("shuffled.pcap")
    shuffled(outcome.tool.path, path, 7)
    plain, mixed = (truth.compare(reference, p, start) for p in (outcome.tool.path, path))
    for name in ("fragments", "port_reuse", "port_reuse_tcp"):
        w = lab_module.BY_NAME[name]
        key = name if name in truth.NAMED else w.slot
        for count in ("got", "leaked", "extra"):
            assert getattr(mixed.slots[key], count) == getattr(plain.slots[key], count), name
    assert len(mixed.slots[None].leaked) == len(plain.slots[None].leaked)
    assert plain.late_by < 0.2 < mixed.late_by and mixed.late > plain.late


def has_app_port(record):
    """An IPv4 packet without options, TCP or UDP, from or to a port of the app."""
    return record[36] == 0x45 and record[45] in (truth.TCP, truth.UDP) and any(
        int.from_bytes(record[i:i + 2], "big") in truth.APP_PORTS for i in (56, 58))


def move_port(record):
    """The record with every port of the app's range made one of the bystander's."""
    out = bytearray(record)
    at = 16 + 20 + 20	# record header, SLL2, IPv4 without options
    for i in (at, at + 2):
        port = int.from_bytes(out[i:i + 2], "big")
        if port in truth.APP_PORTS:
            out[i:i + 2] = (port + 10000).to_bytes(2, "big")
    assert out != record
    return bytes(out)


# Last: the lab clears what the tests above share.
def test_a_second_try_has_a_reference_of_its_own(lab, monkeypatch):
    """The reference of a try that was lost must be gone: it once wrote its packets, by then the
    second try's, into the new file as well, and everything on lo was there twice."""
    verdicts = iter([1])
    real = lab_module.Reference.lost
    monkeypatch.setattr(lab_module.Reference, "lost",
                        lambda self, c: next(verdicts, None) or real(c))
    began = []
    make = lab.apptap if os.access(lab_module.APPTAP, os.X_OK) else lab.tcpdump

    def tool():
        began.append([c.argv for c in lab.captures if c.proc.poll() is None])
        return make()
    w = lab_module.BY_NAME["loopback_udp"]
    tally = lab.run([w], tool).tally(w)
    assert len(began) == 2 and [len(running) for running in began] == [2, 2], began
    assert (tally.expected, tally.bystander) == (3 * w.count, w.count)
