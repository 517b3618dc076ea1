"""Exactness over adb: the phone stands in the lab's namespace, and the classes of accuracy.md run on
it; what comes over the link is held against the reference as it is on this machine."""
import dataclasses
import os

import pytest

import lab as lab_module
import phone as phone_module
import truth
from test_exact import account, judge, second_try

pytestmark = pytest.mark.usefixtures("need_apptap")
# Those that ask most of what a phone has otherwise: /proc, namespaces, a slow way for the bytes.
# APPTAP_ALL=1 measures all of them, through all tiers.
CHOSEN = ["tcp_short", "churn_udp", "bulk_down", "inbound_udp", "preexisting", "refused", "loopback"]
NAMES = list(lab_module.BY_NAME) if os.environ.get("APPTAP_ALL") else CHOSEN
AT_LEISURE = ("nflog",)


class PhoneLab(lab_module.Lab):
    """The app's side is a phone: its programs run among its processes."""

    def __init__(self):
        super().__init__()
        self.phone = None

    def _build(self):
        super()._build()
        # As on phones: the rules of the tier nflog are set by iptables, for there is no nftables.
        self.phone = phone_module.Phone(netns=self.names["app"],
                                        options=["--env", "APPTAP_RULES=iptables"])

    def traffic(self, role, workload, *options, **placed):
        if role != "app":
            return super().traffic(role, workload, *options, **placed)
        return self.program(role, "nsenter", "-t", str(self.phone.init_pid()), "-p",
            lab_module.TRAFFIC, workload, *options)

    def capture(self, argv, path):
        if "tcpdump" in argv:
            return super().capture(argv, path)
        if os.path.exists(path):
            os.unlink(path)
        c = lab_module.Capture(argv, path)	# on the host's side of the link
        self.captures.append(c)
        return c

    def apptap(self, *options, tier="sockdiag", name="out.pcapng", env=()):
        path = self.file(name)
        env = [f"{k}={self.phone.env[k]}" for k in ("APPTAP_AGENTS", "ANDROID_ADB_SERVER_PORT")]
        return self.capture(["env", *env, lab_module.APPTAP, "--uid", str(truth.APP_UID), "--no-dns",
            "--device", self.phone.serial, "--tier", tier, "-v", "--json", "-o", path,
            *options], path)

    def close(self):
        if self.phone:
            self.phone.stop()
        super().close()


@pytest.fixture(scope="module")
def shared_phone_lab():
    reason = lab_module.why_not() or phone_module.why_not()
    if reason:
        pytest.skip(reason)
    with PhoneLab() as lab:
        yield lab


@pytest.fixture
def lab(shared_phone_lab):
    yield shared_phone_lab
    shared_phone_lab.clear()


@pytest.mark.parametrize("name", NAMES)
@second_try
def test_exact_over_adb(lab, name, tier):
    workload = lab_module.BY_NAME[name]
    if tier == "sockdiag" and name.startswith("churn_"):	# here: 100 %; while others had the CPUs: 79 %
        workload = dataclasses.replace(workload, recall=0.5)
    outcome = lab.run([workload], lambda: lab.apptap(tier=tier))
    assert outcome.code == 0, outcome.tool.talk
    print(f"ready in {outcome.tool.ready_s:.2f} s, stopped in {outcome.tool.stop_s:.2f} s")
    judge(outcome, workload)
    account(outcome)
    assert not lab.phone.leftovers()
