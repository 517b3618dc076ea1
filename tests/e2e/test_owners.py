"""Owners that are hard to know: without SOCK_DIAG; a socket given away; accepted by another user"""
import dataclasses

import pytest

import lab as lab_module
from test_exact import account, judge

pytestmark = pytest.mark.usefixtures("need_apptap")


def test_without_sock_diag(lab):
    """/proc/net in its place is slow: it may miss some, it may not leak, and it says so."""
    least = {"tcp_short": 0.5, "quic": 0.5, "preexisting": 0.9, "bulk_down": 0.9}
    workloads = [dataclasses.replace(lab_module.BY_NAME[n], recall=r) for n, r in least.items()]
    outcome = lab.run(workloads, lambda: lab.apptap(env=["APPTAP_NO_SOCK_DIAG=1"]))
    assert outcome.code == 0, outcome.tool.talk
    judge(outcome, *workloads)
    account(outcome)
    assert any("/proc/net" in line and "warning" in line for line in outcome.tool.talk)
    assert any("/proc/net" in text for text in outcome.json["warnings"])
