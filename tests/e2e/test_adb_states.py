"""What the real adbd cannot be made to show, by tests/device/fakeadbd.py: devices that cannot be used,
each with its own sentence and what to do."""
import os
import subprocess

import pytest

import lab
from phone import DEVICE, free_port, until


class Fake:
    """One such device, and a server of adb's own that knows it alone."""

    def __init__(self, *options):
        self.port = free_port()
        self.env = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(free_port())}
        self.env.pop("ANDROID_SERIAL", None)
        self.serial = f"127.0.0.1:{self.port}"
        self.daemon = lab.Program(["/usr/bin/python3", os.path.join(DEVICE, "fakeadbd.py"),
                                   str(self.port), *options])
        assert self.daemon.line().startswith("listening")
        self.adb("connect", self.serial)

    def adb(self, *args):
        return subprocess.run(["adb", *args], env=self.env, capture_output=True, text=True,
                              timeout=lab.WAIT, check=False).stdout

    def run(self, *args):
        return subprocess.run([lab.APPTAP, "com.example.app", *args], env=self.env,
                              capture_output=True, text=True, timeout=lab.WAIT, check=False)

    def end(self):
        self.adb("kill-server")
        self.daemon.kill()


@pytest.mark.parametrize("options, state, says, hint", [
    (["--state", "unauthorized"], "unauthorized", "has not authorised this computer", "unlock"),
    (["--noshellv2"], "device", "no shell_v2", "Android 8 or later"),
], ids=["unauthorized", "no shell_v2"])
@pytest.mark.parametrize("named", [True, False])
def test_a_device_that_cannot_be_used(tmp_path, options, state, says, hint, named):
    fake = Fake(*options)
    try:
        assert until(lambda: f"\t{state}\n" in fake.adb("devices")) is not None, fake.adb("devices")
        got = fake.run("-o", str(tmp_path / "x.pcap"), *(["--device", fake.serial] if named else []))
    finally:
        fake.end()
    assert got.returncode == 1 and says in got.stderr and hint in got.stderr, got.stderr
    assert not (tmp_path / "x.pcap").exists()
