"""base.py - what an executor is: any object with these members"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol, Union, runtime_checkable


@dataclass
class CmdResult:
    """A command that has ended."""

    returncode: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0


@runtime_checkable
class BackgroundProc(Protocol):
    """A command that still runs; a subprocess.Popen is one."""

    def poll(self) -> Optional[int]: ...
    def wait(self, timeout: Optional[float] = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@runtime_checkable
class Executor(Protocol):
    """Runs commands on the machine that is captured on, and carries files to and fro.

    `shell` quotes its arguments and elevates by itself; `run` speaks to the transport, unelevated.
    """

    def run(self, *args: str, timeout: Optional[float] = None) -> CmdResult: ...

    def shell(self, *args: str, background: bool = False, timeout: Optional[float] = None
              ) -> Union[CmdResult, BackgroundProc]: ...

    def push_file(self, local: str, remote: str) -> CmdResult: ...

    def pull_file(self, remote: str, local: str) -> CmdResult: ...

    @property
    def is_rooted(self) -> bool: ...

    @property
    def platform(self) -> str: ...


DEFAULT_TIMEOUT = 30.0


def run_program(argv: list[str], timeout: Optional[float]) -> CmdResult:
    """A program of this machine, to its end; 124: it took too long, 127: it cannot be run."""
    import subprocess

    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False,
                              stdin=subprocess.DEVNULL,
                              timeout=DEFAULT_TIMEOUT if timeout is None else timeout)
    except subprocess.TimeoutExpired:
        return CmdResult(124, stderr="timeout expired")
    except OSError as error:
        return CmdResult(127, stderr=str(error))
    return CmdResult(done.returncode, done.stdout, done.stderr)
