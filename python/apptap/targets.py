"""targets.py - whose traffic, how broadly, by which tier"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional


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


@dataclass(frozen=True)
class Target:
    """The application: a package or process name, or a PID. With both, the package counts."""

    package: Optional[str] = None
    pid: Optional[int] = None
    user: Optional[str] = None
    uids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "uids", tuple(self.uids))
        if not self.package and self.pid is None and not self.user and not self.uids:
            raise ValueError("Target needs a package, a pid, a user or uids")

    def describe(self) -> str:
        """In words, for a log."""
        if self.package and self.pid is not None:
            return f"{self.package} (pid {self.pid})"
        if self.package:
            return self.package
        if self.pid is not None:
            return f"pid {self.pid}"
        if self.user:
            return f"user {self.user}"
        return "uid " + ", ".join(map(str, self.uids))
