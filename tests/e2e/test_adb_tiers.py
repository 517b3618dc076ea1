"""Every tier over adb: that the phone offers it, that it leaves nothing behind, iptables' chains
included, and that a 32-bit agent speaks with a 64-bit host."""
import json
import os
import shutil
import signal

import pytest

import phone as phone_module
from pace import WAIT, in_time
from phone import APP, PACKAGE, Phone, until
from test_adb import exchange, lose, numbers, payloads


@pytest.fixture(scope="module")
def phone():
    """With iptables and without nftables, as phones are."""
    reason = phone_module.why_not()
    if reason:
        pytest.skip(reason)
    with Phone(options=["--env", "APPTAP_RULES=iptables"]) as p:
        yield p


def test_the_phone_offers_every_tier(phone):
    tiers = json.loads(phone.run("--probe", "--device", phone.serial, "--json").stdout)["tiers"]
    assert {t["name"] for t in tiers if t["works"]} == {"bpf", "nflog", "sockdiag"}, tiers
    assert [t["name"] for t in tiers if t["chosen"]] == ["bpf"]
    assert next(t for t in tiers if t["name"] == "nflog")["features"]["iptables"]


def test_rules_are_there_and_go(phone, tmp_path):
    exchange(phone, str(tmp_path / "x.pcapng"), "--no-dns", "--tier", "nflog")
    assert not phone.rules() and not phone.leftovers()


LATER = pytest.mark.at_leisure


@pytest.mark.parametrize("way", ["client KILL", pytest.param("adbd", marks=LATER),
                                 pytest.param("host KILL", marks=LATER)])
def test_rules_go_with_the_link(phone, tmp_path, way):
    path = str(tmp_path / "cut.pcapng")
    sender = phone.sender(APP, "app", size=200)
    capture = phone.capture(PACKAGE, "--device", phone.serial, "--tier", "nflog", output=path)
    capture.wait_ready()
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    assert phone.rules()
    lose(phone, capture, way)
    took = until(lambda: not phone.leftovers() and not phone.rules())
    assert in_time(took, 2), (took, phone.leftovers(), phone.rules())
    capture.proc.wait(WAIT)
    sender.say("end")
    sender.line()
    got = numbers(payloads(path), b"app")
    assert got and got == list(range(got[0], got[-1] + 1))
    if not phone.is_attached():
        phone.connect()


def test_rules_go_when_the_agent_is_killed(phone, tmp_path):
    path = str(tmp_path / "cut.pcapng")
    capture = phone.capture(PACKAGE, "--device", phone.serial, "--tier", "nflog", output=path)
    capture.wait_ready()
    assert phone.rules()
    agent = min(phone.pids("apptap"))	# the guardian is its child
    os.kill(agent, signal.SIGKILL)
    took = until(lambda: not phone.leftovers() and not phone.rules())
    assert in_time(took, 2), (took, phone.leftovers(), phone.rules())
    assert capture.proc.wait(WAIT) == 1


@pytest.mark.parametrize("through", ["bpf", pytest.param("sockdiag", marks=LATER)])
def test_a_32_bit_agent(phone, tmp_path, through):
    """The program for x86 in the place of that for x86_64: this kernel runs both."""
    agents = tmp_path / "agents"
    agents.mkdir()
    shutil.copy(os.path.join(phone_module.AGENTS, "apptap-x86"), agents / "apptap-x86_64")
    exchange(phone, str(tmp_path / "x.pcapng"), "--no-dns", "--tier", through,
             env=(("APPTAP_AGENTS", str(agents)),))
    assert not phone.leftovers()
