"""Scale: a bystander's flood, 100,000 foreign sockets, a bulk download; bench/ measures finely."""
import dataclasses

import pytest

import lab as lab_module
import truth
from test_exact import account, judge

AT_LEISURE = ("nflog",)
pytestmark = pytest.mark.usefixtures("need_apptap")


def bystander(lab, workload, *options):
    p = lab.traffic("app", workload, f"uid={truth.BYSTANDER_UID}", *options)
    p.line()
    return p


def test_flood(lab, tier):
    """The app's packets are all there while a bystander sends all it can. The reference sees the
    app only: a second witness of the flood would be the bigger load."""
    flood = bystander(lab, "flood", "ports=39800-39999", "seconds=3")
    mix = [dataclasses.replace(lab_module.BY_NAME[n], count=c)
           for n, c in (("tcp_short", 1500), ("dns", 3000), ("quic", 3000))]
    seen = {}

    def tool():
        t = lab.apptap(tier=tier)
        t.wait_ready()
        flood.say("go")
        return t
    real_go = lab._go

    def go(running):
        results = real_go(running)
        seen["flood"] = flood.line()
        return results
    lab._go = go
    try:
        outcome = lab.run(mix, tool, what=lab_module.ONLY_THE_APP, tries=1)
    finally:
        del lab._go
    total = outcome.report.total
    print(f"flood {seen['flood']}: recall {total.got}/{total.expected}")
    assert not total.leaked and not total.extra, outcome.report.complain()
    for w in mix:	# no allowance for the short-lived either
        tally = outcome.tally(w)
        assert tally.expected and tally.got == tally.expected, outcome.report.complain(tally)
    account(outcome)


def test_ready_with_many_foreign_sockets(lab, tier):
    lab.hoard(100000)
    w = lab_module.BY_NAME["dns"]
    outcome = lab.run([w], lambda: lab.apptap(tier=tier))
    judge(outcome, w)
    print(f"ready after {outcome.tool.ready_s:.3f} s, stopped after {outcome.tool.stop_s:.3f} s")
    assert lab_module.in_time(outcome.tool.ready_s, 0.5)	# the figures to reach; bench/ measures them
    assert lab_module.in_time(outcome.tool.stop_s, 0.1)


def test_bulk_download(lab, tier):
    w = dataclasses.replace(lab_module.BY_NAME["bulk_down"], count=1, options=("size=200000000",))
    outcome = lab.run([w], lambda: lab.apptap(tier=tier), buffer_kib=262144)
    total = outcome.report.total
    assert not total.leaked and not total.extra, outcome.report.complain()
    got = sum(map(len, (p for _, p in truth.packets(lab.file("ours.pcap")))))
    print(f"bulk: {total.got}/{total.expected} packets, {got} bytes")
    assert total.recall >= 0.99, outcome.report.complain()
