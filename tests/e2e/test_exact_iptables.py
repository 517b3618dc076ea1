"""Exactness of the tier nflog by the programs that make its rules on phones and older machines: iptables, of
nftables and of the kernel's own tables. All classes with APPTAP_ALL=1, else some that say most."""
import pytest

import lab as lab_module
import shapes
from test_exact import account, judge, second_try
from test_nflog import choose

pytestmark = pytest.mark.usefixtures("need_apptap")
ALWAYS = {("iptables", n) for n in ("tcp_short", "inbound_udp", "loopback", "port_reuse_tcp")} | {("legacy", "quic")}


@pytest.mark.parametrize("backend, name", [
    pytest.param(b, n, marks=() if (b, n) in ALWAYS else pytest.mark.at_leisure)
    for b in ("iptables", "legacy") for n in lab_module.BY_NAME])
@second_try
def test_exact(lab, monkeypatch, backend, name):
    choose(backend, monkeypatch)
    for w in lab_module.WORKLOADS:
        monkeypatch.setitem(shapes.RECALL, ("nflog", w.name), w.recall)
    # When the first port is taken, a program has to run before all is asked about: 99.6 to 100 %.
    monkeypatch.setitem(shapes.RECALL, ("nflog", "port_reuse"), 0.99)
    # INPUT knows no owners, so each reply is asked about: 99.87 to 100 %.
    monkeypatch.setitem(shapes.RECALL, ("nflog", "churn_udp"), 0.995)
    workload = lab_module.BY_NAME[name]
    outcome = lab.run([workload], lambda: lab.apptap(tier="nflog"))
    assert outcome.code == 0 and outcome.json["tier"] == "nflog", outcome.tool.talk
    judge(outcome, workload)
    account(outcome)
