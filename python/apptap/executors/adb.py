"""adb.py - an Android device, over the installed adb"""

from __future__ import annotations

import shlex
import subprocess
from typing import Callable, Optional, Union

from apptap.executors.base import BackgroundProc, CmdResult, run_program

PROBE_TIMEOUT = 5.0
# How to become root, each tried once, in this order.
WAYS: dict[str, Callable[[str], str]] = {
    "root": lambda command: command,
    "su0": lambda command: f"su 0 {command}",
    "su_c": lambda command: f"su -c {shlex.quote(command)}",
}


class AdbExecutor:
    """The device with that serial; None: the only one that is attached.

    A capture needs nothing of its methods: the library speaks to adb by itself.
    """

    def __init__(self, device_id: Optional[str] = None) -> None:
        self.device_id = device_id
        self._way: Optional[str] = None

    @property
    def platform(self) -> str:
        return "android"

    @property
    def adb_base(self) -> list[str]:
        return ["adb", "-s", self.device_id] if self.device_id else ["adb"]

    @property
    def is_rooted(self) -> bool:
        return self._find_way() != "none"

    def _find_way(self) -> str:
        if self._way is None:
            self._way = next((name for name, wrap in WAYS.items() if self._is_root(wrap)), "none")
        return self._way

    def _is_root(self, wrap: Callable[[str], str]) -> bool:
        done = self.run("shell", wrap("id -u"), timeout=PROBE_TIMEOUT)
        return done.ok and done.stdout.strip() == "0"

    def shell(self, *args: str, background: bool = False, timeout: Optional[float] = None
              ) -> Union[CmdResult, BackgroundProc]:
        wrap = WAYS.get(self._find_way(), WAYS["root"])
        argv = [*self.adb_base, "shell", wrap(" ".join(map(shlex.quote, args)))]
        if background:
            return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return run_program(argv, timeout)

    def run(self, *args: str, timeout: Optional[float] = None) -> CmdResult:
        return run_program([*self.adb_base, *args], timeout)

    def push_file(self, local: str, remote: str) -> CmdResult:
        return self.run("push", local, remote)

    def pull_file(self, remote: str, local: str) -> CmdResult:
        return self.run("pull", remote, local)
