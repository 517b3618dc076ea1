"""local.py - this machine"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Optional, Union

from apptap.executors.base import BackgroundProc, CmdResult, run_program


class LocalExecutor:
    """This machine; with `use_sudo`, root's rights come from `sudo -n` where the caller is not root.

    A capture needs nothing of its methods: the library starts its agent here by itself.
    """

    def __init__(self, use_sudo: bool = True) -> None:
        self.use_sudo = use_sudo

    @property
    def platform(self) -> str:
        return "linux"

    @property
    def is_rooted(self) -> bool:
        return os.geteuid() == 0

    def shell(self, *args: str, background: bool = False, timeout: Optional[float] = None
              ) -> Union[CmdResult, BackgroundProc]:
        argv = [*(["sudo", "-n"] if self.use_sudo and not self.is_rooted else []), *args]
        if background:
            return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return run_program(argv, timeout)

    def run(self, *args: str, timeout: Optional[float] = None) -> CmdResult:
        return run_program(list(args), timeout)

    def push_file(self, local: str, remote: str) -> CmdResult:
        return self._copy(local, remote)

    def pull_file(self, remote: str, local: str) -> CmdResult:
        return self._copy(remote, local)

    @staticmethod
    def _copy(source: str, destination: str) -> CmdResult:
        try:
            shutil.copy(source, destination)
        except OSError as error:
            return CmdResult(1, stderr=str(error))
        return CmdResult(0)
