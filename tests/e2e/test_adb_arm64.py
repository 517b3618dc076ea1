"""The arm64 agent on an arm64 kernel: the stand-in phone as a machine of its own, over adb"""
import os
import shutil
import subprocess

import pytest

import lab
import phone as phone_module
from phone import AGENTS, APP, DEVICE, PACKAGE, free_port, until

# Among the phone's own tools: each user's client says its word to a listener of the other one's.
TRAFFIC = """R=/system/bin/runas; T=/system/bin/toybox
say() { (sleep 4 | $R 10124 10124 3003 $T nc -l -p $2) >/dev/null 2>&1 &
until grep -q ":$(printf %04X $2) " /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done
(echo $3; sleep 0.5) | $R $1 $1 3003 $T nc 127.0.0.1 $2; }
say 10123 7000 from-the-app; say 10124 7001 from-the-other; echo said"""


def why_not():
    if os.geteuid():
        return "needs root"
    for tool in ("adb", "qemu-system-aarch64", "busybox", "aarch64-linux-gnu-gcc"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.path.exists(os.path.join(AGENTS, "apptap-arm64-v8a")):
        return "needs the agent: ./dev agents arm64-v8a"
    reason = phone_module.why_not()
    if reason:
        return reason
    got = subprocess.run([os.path.join(DEVICE, "arm64.sh"), "prepare"], capture_output=True, text=True,
                         env={**os.environ, "DEVICE_WORK": phone_module.WORK}, check=False)
    return f"needs Debian's arm64 packages: {got.stderr[-200:]}" if got.returncode else None


class Arm64Phone(phone_module.Phone):
    """The same, but for what is done to it from outside: there is no outside."""

    def device(self, verb, *args, check=True):
        if verb == "ps":
            return ""
        got = subprocess.run([os.path.join(DEVICE, "arm64.sh"), verb, str(self.port)], env=self.env,
                             text=True, stdout=subprocess.PIPE, timeout=90, check=check)
        return got.stdout.strip()

    def shell(self, line):
        return self.adb("-s", self.serial, "shell", f"su -c '{line}'")


@pytest.fixture(scope="module")
def phone():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Arm64Phone() as p:
        yield p


def capture(phone, path, *options, env=()):
    """One in which each app says its word to the other; returns its account."""
    c = phone.capture(PACKAGE, "--json", "--no-dns", *options, output=path, env=env).wait_ready(60)
    assert "said" in phone.shell(TRAFFIC)
    assert until(lambda: os.path.getsize(path) > 1000) is not None
    assert c.stop() == 0, c.talk
    got = subprocess.run(["tshark", "-r", path, "-T", "fields", "-e", "tcp.payload"],
                         capture_output=True, text=True, check=True).stdout.split()
    assert {bytes.fromhex(x).strip() for x in got} == {b"from-the-app"}
    assert APP in {u["uid"] for u in c.json()["uids"]}
    assert "apptap" not in phone.shell("ls -aR /data/local; ps -A").lower()
    return c.json()


@pytest.mark.at_leisure
@pytest.mark.parametrize("through", ["sockdiag", "nflog"])
def test_the_arm64_agent_captures_on_an_arm64_kernel(phone, tmp_path, through):
    assert "aarch64" in phone.run("--probe").stdout
    told = capture(phone, str(tmp_path / "app.pcapng"), "--tier", through)
    if through == "sockdiag":
        assert told["counters"]["foreign"] > 0	# adb itself, in the phone's own network
    assert "APPTAP" not in phone.shell("iptables-save")


@pytest.mark.at_leisure
def test_the_armv7_agent_captures_on_an_arm64_kernel(phone, tmp_path):
    """32-bit programs run there as well."""
    agents = tmp_path / "agents"
    agents.mkdir()
    shutil.copy(os.path.join(AGENTS, "apptap-armeabi-v7a"), agents / "apptap-arm64-v8a")
    capture(phone, str(tmp_path / "app.pcapng"), env=(("APPTAP_AGENTS", str(agents)),))
