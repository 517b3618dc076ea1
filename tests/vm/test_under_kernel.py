"""A short capture of several classes at once, under the kernel of a virtual machine (tests/vm/vm.sh)

Without KVM all is twenty times slower, so that sockdiag, which races with the app's close(), may
miss some: half must be there. What is not the app's may never be. An app that lasts is whole.
"""
import dataclasses
import platform
import re
import subprocess

import pytest

import lab as lab_module
from conftest import tiers
from test_exact import account, judge

KERNEL = ".".join(platform.release().split(".")[:2])
VERSION = tuple(map(int, KERNEL.split(".")))
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


def filters(room):
    done = subprocess.run([*room.inside("app"), "tc", "filter", "show", "dev", "veth0", "egress"],
                          capture_output=True, text=True, check=True)
    return re.findall(r"apptap-\w+-out-clsact", done.stdout)


@pytest.mark.parametrize("name", [f"{KERNEL}-{t}" for t in tiers()])
def test_capture(room, name):
    tier = name.rpartition("-")[2]
    during = []

    def tool():
        started = room.apptap(tier=tier).wait_ready()
        during.extend(filters(room))
        return started

    workloads = [dataclasses.replace(lab_module.BY_NAME[n], count=c, recall=recall(n, tier))
                 for n, c in COUNTS.items()]
    outcome = room.run(workloads, tool)
    assert outcome.code == 0, outcome.tool.talk
    assert outcome.json["tier"] == tier, outcome.tool.talk
    judge(outcome, *workloads)
    account(outcome)
    assert len(during) == (tier == "bpf" and VERSION < (6, 6))	# where there are no links: filters of tc
    assert not filters(room)
    room.clear()


def test_tiers_are_offered():
    """The probe's word: all of them are able to work on these kernels."""
    assert set(tiers()) == {"sockdiag", "nflog", "bpf"}
