"""ssh.py - another machine, over the installed OpenSSH client"""

from __future__ import annotations

import shlex
import subprocess
from typing import Optional, Union

from apptap.executors.base import BackgroundProc, CmdResult, run_program


class SshExecutor:
    """The machine that ssh calls `destination` ("user@host"), with its config and its agent.

    A capture needs nothing of its methods: the library speaks to ssh by itself.
    """

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._root: Optional[bool] = None

    @property
    def platform(self) -> str:
        return "linux"

    @property
    def is_rooted(self) -> bool:
        if self._root is None:
            done = self.run("id", "-u")
            self._root = done.ok and done.stdout.strip() == "0"
        return self._root

    def _argv(self, args: tuple[str, ...]) -> list[str]:
        return ["ssh", "-o", "BatchMode=yes", "--", self.destination,
                " ".join(map(shlex.quote, args))]

    def shell(self, *args: str, background: bool = False, timeout: Optional[float] = None
              ) -> Union[CmdResult, BackgroundProc]:
        argv = self._argv(args if self.is_rooted else ("sudo", "-n", *args))
        if background:
            return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return run_program(argv, timeout)

    def run(self, *args: str, timeout: Optional[float] = None) -> CmdResult:
        return run_program(self._argv(args), timeout)

    def push_file(self, local: str, remote: str) -> CmdResult:
        return run_program(["scp", "-q", "-B", "--", local, f"{self.destination}:{remote}"], None)

    def pull_file(self, remote: str, local: str) -> CmdResult:
        return run_program(["scp", "-q", "-B", "--", f"{self.destination}:{remote}", local], None)
