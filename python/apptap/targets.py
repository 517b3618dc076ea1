"""targets.py - whose traffic, how broadly, by which tier"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Iterable, Optional


class Tier(enum.Enum):
    """How packets are got out of the kernel.

    A result names the tier that was used, or WHOLE_DEVICE where nothing was left out. As a request,
    WHOLE_DEVICE asks for everybody's traffic; it is never what another request falls back to.
    """

    AUTO = "auto"
    BPF = "bpf"
    NFLOG = "nflog"
    SOCKDIAG = "sockdiag"
    WHOLE_DEVICE = "whole_device"

    def __str__(self) -> str:
        return self.value


class Breadth(enum.Enum):
    """What else counts as the app beside its own user ID."""

    APP_ONLY = "app"
    APP_ISOLATED = "app+isolated"
    APP_ISOLATED_DNS = "app+isolated+dns"

    def __str__(self) -> str:
        return self.value


def words(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """A string is a list of its letters too, and never meant so."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name} is a list of strings, not one string")
    return tuple(values)


@dataclass(frozen=True)
class Target:
    """The application: a package or process name, a PID, a user, user IDs, or a cgroup.

    A PID stands for its user ID; with `process_only` for that process alone, with `tree` for it and
    its descendants. A `command` is started by the capture, and captured with its descendants from its
    first packet to its end. `android_user` is a package's user, a number or "all". When several are given,
    the first in the order of the fields counts.
    """

    package: Optional[str] = None
    pid: Optional[int] = None
    user: Optional[str] = None
    uids: tuple[int, ...] = ()
    cgroup: Optional[str] = None
    unit: Optional[str] = None
    container: Optional[str] = None
    command: tuple[str, ...] = ()
    tree: bool = False
    process_only: bool = False
    android_user: Optional[str] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "uids", tuple(self.uids))
        object.__setattr__(self, "command", words("command", self.command))
        named = (self.package, self.user, self.uids, self.cgroup, self.unit, self.container,
                 self.command)
        if self.pid is None and not any(named):
            raise ValueError("Target needs a package, a pid, a user, uids, a cgroup, a unit, a "
                             "container or a command")

    def describe(self) -> str:
        """In words, for a log."""
        if self.package:
            return self.package if self.pid is None else f"{self.package} (pid {self.pid})"
        if self.pid is not None:
            return f"pid {self.pid}"
        if self.uids and not self.user:
            return "uid " + ", ".join(map(str, self.uids))
        if self.command and not (self.user or self.cgroup or self.unit or self.container):
            return "command " + self.command[0]
        return next(f"{name} {value}" for name in ("user", "cgroup", "unit", "container")
                    for value in [getattr(self, name)] if value)
