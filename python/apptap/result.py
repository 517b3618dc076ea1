"""result.py - what a capture came to, and what passes while it runs"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from apptap.targets import Tier


@dataclass(frozen=True)
class Connection:
    """A connection of the app. Two are equal when protocol, family, addresses and ports are.

    `laddr` and `lport` are the app's end. `first_ns` and `last_ns` are times of the target's clock;
    bytes count from the network header on. `community_id` is version 1, seed 0.
    `pid` and `command` are of the process that made the socket; None and "" where the tier knows neither.
    """

    protocol: str
    family: int
    laddr: str
    lport: int
    raddr: str
    rport: int
    uid: Optional[int] = field(default=None, compare=False)
    first_ns: int = field(default=0, compare=False)
    last_ns: int = field(default=0, compare=False)
    packets_out: int = field(default=0, compare=False)
    packets_in: int = field(default=0, compare=False)
    bytes_out: int = field(default=0, compare=False)
    bytes_in: int = field(default=0, compare=False)
    syn: bool = field(default=False, compare=False)
    fin: bool = field(default=False, compare=False)
    rst: bool = field(default=False, compare=False)
    community_id: str = field(default="", compare=False)
    pid: Optional[int] = field(default=None, compare=False)
    command: str = field(default="", compare=False)

    def key(self) -> tuple[str, int, tuple[str, int], tuple[str, int]]:
        """The same from both ends."""
        low, high = sorted(((self.laddr, self.lport), (self.raddr, self.rport)))
        return (self.protocol, self.family, low, high)


class Direction(enum.Enum):
    """Of a packet, seen from the machine that is captured on."""

    IN = "in"
    OUT = "out"

    def __str__(self) -> str:
        return self.value


class Packet(NamedTuple):
    """A packet as it passed. `data` begins with the SLL2 header, `data[network:]` is the IP packet.

    `uid` is None where no owner was sought, `interface` and `command` are "" and `pid` 0 where they
    are not known.
    """

    time_ns: int
    data: bytes
    wire_len: int
    network: int
    uid: Optional[int]
    direction: Direction
    protocol: int
    interface: str
    pid: int
    command: str


class ConnectionEvent(NamedTuple):
    """A connection has just begun, or (`closed`) ended, and stands as it is now."""

    closed: bool
    connection: Connection


class Counters(NamedTuple):
    """What a capture has done so far; the C header tells what each counts."""

    elapsed_ms: int = 0
    packets: int = 0
    bytes: int = 0
    connections: int = 0
    seen: int = 0
    kept: int = 0
    kept_bytes: int = 0
    foreign: int = 0
    not_ip: int = 0
    unattributed: int = 0
    held: int = 0
    dropped_kernel: int = 0
    lookups: int = 0


@dataclass
class CaptureResult:
    """All that a capture came to.

    `reasons` tells for each of `uids` why it was captured, `cgroups` and `processes` the same for what
    was captured by its cgroup (by path) or by itself (by PID). `clock_ahead_ns` tells how far the
    clock of another machine, which times the packets, was ahead of this one's. `connections` lists at most 16,384, oldest
    first; `connections_total` counts all. `ended_by` is "stopped", "duration", "count", "ended" (the command has) or "failed".
    `command_status` is what a command ended with, 128 + the signal that ended it; None: it still runs.
    """

    tier: Tier
    uids: frozenset[int] = frozenset()
    connections: tuple[Connection, ...] = ()
    pcap_path: Optional[str] = None
    linktype: Optional[int] = None
    warnings: list[str] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    cgroups: dict[str, str] = field(default_factory=dict)
    processes: dict[int, str] = field(default_factory=dict)
    clock_ahead_ns: Optional[int] = None
    command_status: Optional[int] = None
    counters: Counters = Counters()
    connections_total: int = 0
    ended_by: str = ""
    format: Optional[str] = None
    snaplen: Optional[int] = None
