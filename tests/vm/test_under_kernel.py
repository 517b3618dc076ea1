"""A short capture of several classes at once, under the kernel of a virtual machine (tests/vm/vm.sh)

Without KVM all is twenty times slower, so that sockdiag, which races with the app's close(), may
miss some: half must be there. What is not the app's may never be. An app that lasts is whole.
"""
import dataclasses
import platform

import pytest

import lab as lab_module
from conftest import tiers
from test_exact import account, judge

KERNEL = ".".join(platform.release().split(".")[:2])
COUNTS = {"tcp_short": 20, "dns": 30, "quic": 2, "udp_fire": 20, "inbound_tcp": 10,
          "inbound_udp": 10, "fragments": 6, "loopback": 32}
LASTING = ("quic", "inbound_udp", "fragments")


@pytest.fixture(scope="module")
def room():
    with lab_module.Lab() as lab:
        yield lab


def recall(name, tier):
    if tier != "sockdiag" or name in LASTING:
        return 1.0
    return 0.5


@pytest.mark.parametrize("name", [f"{KERNEL}-{t}" for t in tiers()])
def test_capture(room, name):
    tier = name.rpartition("-")[2]
    workloads = [dataclasses.replace(lab_module.BY_NAME[n], count=c, recall=recall(n, tier))
                 for n, c in COUNTS.items()]
    outcome = room.run(workloads, lambda: room.apptap(tier=tier))
    assert outcome.code == 0, outcome.tool.talk
    assert outcome.json["tier"] == tier, outcome.tool.talk
    judge(outcome, *workloads)
    account(outcome)
    room.clear()


def test_tiers_are_offered():
    """The probe's word: what this kernel is able to do is offered, and what it is not is not."""
    version = tuple(map(int, KERNEL.split(".")))
    able = {"sockdiag", "nflog"} | ({"bpf"} if version >= (6, 6) else set())
    assert set(tiers()) == able
