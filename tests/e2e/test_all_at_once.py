"""Every class in one capture: no class may hide behind the quiet of its own test."""
import dataclasses

import pytest

import lab as lab_module
from test_exact import account, judge, second_try

AT_LEISURE = ("nflog",)
pytestmark = pytest.mark.usefixtures("need_apptap")


@second_try
def test_all_at_once(lab, tier):
    # As fast as a core goes, they would starve the rest: they have a capture of their own.
    loud = {"churn_tcp", "churn_udp"}
    workloads = [w for w in lab_module.WORKLOADS if w.name not in loud]
    outcome = lab.run(workloads, lambda: lab.apptap(tier=tier))
    assert outcome.code == 0, outcome.tool.talk
    # 58 programs on these CPUs: the search for refused sockets has a bounded share of the time.
    judge(outcome, *(dataclasses.replace(w, recall=0.5) if w.name == "refused" else w
                     for w in workloads))
    account(outcome)


@second_try
def test_churn_of_both_kinds_at_once(lab, tier):
    workloads = [lab_module.BY_NAME[n] for n in ("churn_tcp", "churn_udp", "tcp_short", "quic")]
    outcome = lab.run(workloads, lambda: lab.apptap(tier=tier))
    assert outcome.code == 0, outcome.tool.talk
    judge(outcome, *workloads)
    account(outcome)
