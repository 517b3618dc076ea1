"""A short capture of several classes, by every tier at once, under the kernel of a virtual machine

Without KVM all is twenty times slower (tests/vm/vm.sh). sockdiag races with the app's close(): half must
be there, of an app that lasts all. nflog asks about a datagram while it passes: four fifths. What is missing
must have been counted. bpf decides in the kernel: all of it. What is not the app's may never be there.
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
TIERS = ("bpf", "nflog", "sockdiag")
COUNTS = {"tcp_short": 20, "dns": 30, "quic": 2, "udp_fire": 20, "inbound_tcp": 10,
          "inbound_udp": 10, "fragments": 6, "loopback": 32}
LASTING = ("quic", "inbound_udp", "fragments")
DATAGRAMS = ("dns", "quic", "udp_fire", "inbound_udp", "fragments", "loopback")


def filters(lab):
    done = subprocess.run([*lab.inside("app"), "tc", "filter", "show", "dev", "veth0", "egress"],
                          capture_output=True, text=True, check=True)
    return re.findall(r"apptap-\w+-out-clsact", done.stdout)


def tools(lab):
    started = [lab.apptap(tier=t, name=f"{t}.pcapng").wait_ready() for t in TIERS]
    # Before there were links: filters of tc, and somebody who removes them (src/tier/clsact.c).
    assert len(filters(lab)) == (VERSION < (6, 6))
    return started


@pytest.fixture(scope="module")
def outcomes():
    workloads = [dataclasses.replace(lab_module.BY_NAME[n], count=c) for n, c in COUNTS.items()]
    with lab_module.Lab() as lab:
        found = lab.run_all(workloads, lambda: tools(lab))
        assert not filters(lab)
        yield dict(zip(TIERS, found))


def recall(name, tier):
    if tier == "sockdiag":
        return 1.0 if name in LASTING else 0.5
    return 0.8 if tier == "nflog" and name in DATAGRAMS else 1.0


@pytest.mark.parametrize("name", [f"{KERNEL}-{t}" for t in TIERS])
def test_capture(outcomes, name):
    tier = name.rpartition("-")[2]
    outcome = outcomes[tier]
    assert outcome.code == 0, outcome.tool.talk
    assert outcome.json["tier"] == tier, outcome.tool.talk
    judge(outcome, *(dataclasses.replace(lab_module.BY_NAME[n], recall=recall(n, tier)) for n in COUNTS))
    account(outcome)


def test_tiers_are_offered():
    """The probe's word: all of them are able to work on these kernels."""
    assert set(tiers()) == set(TIERS)
