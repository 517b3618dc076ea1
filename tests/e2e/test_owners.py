"""Owners that are hard to know: without SOCK_DIAG; a socket given away; accepted by another user"""
import collections
import dataclasses
import json
import time

import pytest

import lab as lab_module
import truth
from test_exact import Shortfall, account, judge, second_try

GIVEN_KINDS = 8
GRACE = 0.5	# seconds after a change of owner in which either may have the packet
FREE_SLOT = 28	# the one of a class that has no use for its range of ports
GIVEN_PORTS = range(truth.APP_PORTS[0] + FREE_SLOT * truth.SLOT + 100,
                    truth.APP_PORTS[0] + FREE_SLOT * truth.SLOT + 200)
pytestmark = pytest.mark.usefixtures("need_apptap")


@second_try
def test_without_sock_diag(fresh_lab):
    """/proc/net in its place is slow: it may miss some, it may not leak, and it says so. How slow
    hangs on how many sockets it lists: none are left over from other tests here. Half is what a
    connection that lasts gets on a busy machine, 90 to 100 % on an idle one."""
    lab = fresh_lab
    least = {"tcp_short": 0.5, "quic": 0.5, "preexisting": 0.5, "bulk_down": 0.5}
    workloads = [dataclasses.replace(lab_module.BY_NAME[n], recall=r) for n, r in least.items()]
    outcome = lab.run(workloads, lambda: lab.apptap(env=["APPTAP_NO_SOCK_DIAG=1"]))
    assert outcome.code == 0, outcome.tool.talk
    judge(outcome, *workloads)
    account(outcome)
    assert any("/proc/net" in line and "warning" in line for line in outcome.tool.talk)
    assert any("/proc/net" in text for text in outcome.json["warnings"])


@second_try
def test_accepted_by_another_user(lab, tier):
    """One user listens, another accepts at once: the connection is the accepting one's, from its
    SYN on; app and bystander stand on both sides of that. The ports begin to listen just before:
    the first connection to each may be over before anybody has met it (docs/attribution.md)."""
    w = lab_module.Workload("accepted", 100, far="inbound_tcp_far", recall=0.96, slot=FREE_SLOT)
    outcome = lab.run([w], lambda: lab.apptap(tier=tier))
    assert outcome.code == 0, outcome.tool.talk
    judge(outcome, w)
    account(outcome)


def misjudged(lab, since, changed, output):
    """Of each kind of socket of "given": what is wrong with its packets."""
    ours = collections.Counter(truth.key_of(p) for _, p in truth.packets(output) if p)
    wrong, judged = collections.defaultdict(list), collections.Counter()
    for ts, pkt in truth.in_time_order(lab.file("reference-veth0.pcap"))[0]:
        local = [p for p in truth.ports(pkt) if p in GIVEN_PORTS] if pkt else ()
        if not local or ts < since or changed[0] <= ts <= changed[1] + GRACE:
            continue
        kind = (local[0] - GIVEN_PORTS[0]) % GIVEN_KINDS
        before, given_away = ts < changed[0], bool(kind & 2)
        judged[kind, before] += 1
        if (ours[truth.key_of(pkt)] > 0) != (before == given_away):
            what = "missing" if before == given_away else "leaked"
            wrong[kind, before].append((what, truth.words(ts - changed[1], pkt)))
    assert len(judged) == 2 * GIVEN_KINDS and min(judged.values()) > 10, judged
    return wrong, judged


@second_try
def test_given_to_another_user(fresh_lab, tier):
    """Sockets of root are given to the app, sockets of the app to the bystander, by fchown(). In a lab of
    its own: nflog looks for them in the socket table, the more seldom the more is in it."""
    lab = fresh_lab
    reference = lab_module.Reference(lab)
    tool = lab.apptap(tier=tier).wait_ready()
    since = time.time()
    p = lab.traffic("app", "given", f"uid={truth.APP_UID}", f"other={truth.BYSTANDER_UID}",
                    "count=64", f"ports={GIVEN_PORTS[0]}-{GIVEN_PORTS[-1]}")
    p.line()
    p.say("go")
    result = json.loads(p.line())
    p.finish()
    assert tool.stop() == 0, tool.talk
    reference.stop()
    assert result["failed"] == 0, result
    output = truth.to_pcap(tool.path, lab.file("ours.pcap"))
    wrong, judged = misjudged(lab, since, result["changed"], output)
    story = ""
    for (kind, before), found in sorted(wrong.items()):
        story += (f"{'UDP' if kind & 4 else 'TCP'} socket "
                  f"{'of the app given away' if kind & 2 else 'of root given to the app'}, "
                  f"{'silent' if kind & 1 else 'busy'}, {'before' if before else 'after'}: "
                  f"{len(found)} of {judged[kind, before]} {found[:3]}\n")
    if story and "leaked" not in story:
        raise Shortfall(story)
    assert not story, story
