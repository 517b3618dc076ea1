"""native.py - libapptap by ctypes: its structures, as apptap.h has them, and its functions"""

from __future__ import annotations

import ctypes as c
import errno
import os
import struct
from typing import Any, Optional

from apptap import errors
from apptap.result import Connection, Counters, Direction, Packet

HERE = os.path.dirname(os.path.abspath(__file__))
SONAME = "libapptap.so.0"
UID_NONE = 0xFFFFFFFF
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
DIRECTIONS = (None, Direction.IN, Direction.OUT)
(READY, STATUS, WARNING, DROP, SCOPE, CONNECTION_NEW, CONNECTION_CLOSED, LOG) = range(1, 9)


class Error(c.Structure):
    _fields_ = [("code", c.c_int), ("msg", c.c_char * 512), ("hint", c.c_char * 256)]


class CPacket(c.Structure):
    _fields_ = [
        ("data", c.c_void_p), ("len", c.c_uint32), ("wire_len", c.c_uint32), ("ts_ns", c.c_uint64),
        ("network", c.c_uint32), ("uid", c.c_uint32), ("protocol", c.c_uint16),
        ("direction", c.c_uint8), ("zero", c.c_uint8), ("linktype", c.c_uint16),
        ("zero2", c.c_uint16), ("ifindex", c.c_int32), ("pid", c.c_uint32),
        ("interface", c.c_void_p), ("command", c.c_void_p), ("reserved", c.c_uint64 * 2),
    ]


class CConnection(c.Structure):
    _fields_ = [
        ("family", c.c_uint8), ("protocol", c.c_uint8), ("tcp_flags", c.c_uint8),
        ("zero", c.c_uint8), ("local_port", c.c_uint16), ("remote_port", c.c_uint16),
        ("uid", c.c_uint32), ("pid", c.c_uint32), ("local", c.c_uint8 * 16),
        ("remote", c.c_uint8 * 16), ("first_ns", c.c_uint64), ("last_ns", c.c_uint64),
        ("packets_out", c.c_uint64), ("packets_in", c.c_uint64), ("bytes_out", c.c_uint64),
        ("bytes_in", c.c_uint64), ("local_text", c.c_char * 48), ("remote_text", c.c_char * 48),
        ("community_id", c.c_char * 32), ("command", c.c_char * 16), ("reserved", c.c_uint64 * 2),
    ]


class CUid(c.Structure):
    _fields_ = [("uid", c.c_uint32), ("zero", c.c_uint32), ("why", c.c_char_p)]


class CCounters(c.Structure):
    _fields_ = [(name, c.c_uint64) for name in Counters._fields]


class Event(c.Structure):
    _fields_ = [
        ("type", c.c_uint32), ("zero", c.c_uint32), ("count", c.c_uint64), ("text", c.c_char_p),
        ("tier", c.c_char_p), ("uids", c.POINTER(CUid)), ("uid_count", c.c_size_t),
        ("counters", c.POINTER(CCounters)), ("connection", c.POINTER(CConnection)),
    ]


PACKET_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(CPacket))
EVENT_FN = c.CFUNCTYPE(None, c.c_void_p, c.POINTER(Event))
ARGV = c.POINTER(c.c_char_p)
ERR = c.POINTER(Error)
RUN_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, ARGV, c.c_int, c.c_void_p, ERR)
COPY_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_char_p, ERR)
IS_ROOT_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, ERR)
PLATFORM_FN = c.CFUNCTYPE(c.c_void_p, c.c_void_p)


class Link(c.Structure):
    _fields_ = [
        ("size", c.c_size_t), ("name", c.c_char_p), ("run", RUN_FN),
        ("push", COPY_FN), ("pull", COPY_FN), ("is_root", IS_ROOT_FN), ("platform", PLATFORM_FN),
        ("stream", c.c_void_p), ("start", c.c_void_p),
    ]


class Options(c.Structure):
    _fields_ = [
        ("size", c.c_size_t), ("target", c.c_char_p), ("user", c.c_char_p),
        ("uids", c.POINTER(c.c_uint32)), ("uid_count", c.c_size_t), ("cgroup", c.c_char_p),
        ("unit", c.c_char_p), ("container", c.c_char_p), ("command", ARGV), ("pid", c.c_int32),
        ("whole_device", c.c_int32), ("tree", c.c_int32), ("process_only", c.c_int32),
        ("android_user", c.c_char_p), ("breadth", c.c_char_p), ("netns", c.c_char_p),
        ("device", c.c_char_p), ("ssh", c.c_char_p), ("link", c.POINTER(Link)),
        ("link_arg", c.c_void_p), ("agents", c.c_char_p), ("agent", c.c_char_p),
        ("keep_agent", c.c_int32), ("sudo", c.c_int32), ("tier", c.c_char_p),
        ("interfaces", ARGV), ("interface_count", c.c_size_t), ("nflog_group", c.c_uint32),
        ("snaplen", c.c_uint32), ("buffer_bytes", c.c_uint64), ("output", c.c_char_p),
        ("format", c.c_char_p), ("output_fd", c.c_int32), ("no_comments", c.c_int32),
        ("packet", PACKET_FN), ("event", EVENT_FN), ("callback_arg", c.c_void_p),
        ("read_packets", c.c_int32), ("events_of_connections", c.c_int32),
        ("duration_ms", c.c_uint64), ("count", c.c_uint64),
    ]

    def __init__(self, **values: Any) -> None:
        super().__init__(size=c.sizeof(Options), **values)
        for name, value in values.items():  # ctypes cuts off what does not fit
            if isinstance(value, int) and getattr(self, name) != value:
                raise errors.OptionError(f"{name} is out of range: {value}", errno.EINVAL)


class CCgroup(c.Structure):
    _fields_ = [("path", c.c_char_p), ("why", c.c_char_p)]


class CProcess(c.Structure):
    _fields_ = [("pid", c.c_uint32), ("tree", c.c_int32), ("why", c.c_char_p)]


class Result(c.Structure):
    _fields_ = [
        ("tier", c.c_char_p), ("ended_by", c.c_char_p), ("path", c.c_char_p),
        ("format", c.c_char_p), ("linktype", c.c_uint32), ("snaplen", c.c_uint32),
        ("whole_device", c.c_int32), ("zero", c.c_int32), ("uids", c.POINTER(CUid)),
        ("uid_count", c.c_size_t), ("connections", c.POINTER(CConnection)),
        ("connection_count", c.c_size_t), ("connections_total", c.c_uint64),
        ("warnings", ARGV), ("warning_count", c.c_size_t), ("counters", c.POINTER(CCounters)),
        ("cgroups", c.POINTER(CCgroup)), ("cgroup_count", c.c_size_t),
        ("processes", c.POINTER(CProcess)), ("process_count", c.c_size_t),
        ("clock_known", c.c_int32), ("command_pid", c.c_int32), ("command_status", c.c_int32),
        ("zero2", c.c_int32), ("clock_ahead_ns", c.c_int64), ("clock_uncertain_ns", c.c_uint64),
    ]


class TierStatus(c.Structure):
    _fields_ = [
        ("name", c.c_char_p), ("gist", c.c_char_p), ("reason", c.c_char_p), ("hint", c.c_char_p),
        ("works", c.c_int32), ("zero", c.c_int32),
    ]


class TierList(c.Structure):
    _fields_ = [("tiers", c.POINTER(TierStatus)), ("tier_count", c.c_size_t), ("system", c.c_char_p)]


class CApp(c.Structure):
    _fields_ = [("name", c.c_char_p), ("uid", c.c_uint32), ("zero", c.c_uint32)]


class AppList(c.Structure):
    _fields_ = [("apps", c.POINTER(CApp)), ("app_count", c.c_size_t)]


class Cleaned(c.Structure):
    _fields_ = [
        ("size", c.c_size_t), ("processes_checked", c.c_uint64), ("agents_ended", c.c_uint64),
        ("agents_live", c.c_uint64), ("files_removed", c.c_uint64),
        ("chains_removed", c.c_uint64), ("cgroups_removed", c.c_uint64),
        ("filters_removed", c.c_uint64), ("files_in_use", c.c_uint64), ("captures_left", c.c_uint64),
    ]


SESSION = c.c_void_p
FUNCTIONS = {
    "apptap_answer_output": (None, [c.c_void_p, c.c_char_p, c.c_size_t]),
    "apptap_answer_status": (None, [c.c_void_p, c.c_int, c.c_char_p]),
    "apptap_version": (c.c_char_p, []),
    "apptap_session_new": (c.c_int, [c.POINTER(SESSION), c.POINTER(Options), ERR]),
    "apptap_session_start": (c.c_int, [SESSION, ERR]),
    "apptap_session_read": (c.c_int, [SESSION, c.c_int, c.POINTER(c.c_void_p), ERR]),
    "apptap_session_wait": (c.c_int, [SESSION, c.c_int, ERR]),
    "apptap_session_interrupt": (None, [SESSION]),
    "apptap_session_stop": (c.c_int, [SESSION, c.POINTER(c.POINTER(Result)), ERR]),
    "apptap_session_free": (None, [SESSION]),
    "apptap_probe": (c.c_int, [c.POINTER(Options), c.POINTER(c.POINTER(TierList)), ERR]),
    "apptap_tier_list_free": (None, [c.POINTER(TierList)]),
    "apptap_list_apps": (c.c_int, [c.POINTER(Options), c.POINTER(c.POINTER(AppList)), ERR]),
    "apptap_app_list_free": (None, [c.POINTER(AppList)]),
    "apptap_cleanup": (c.c_int, [c.POINTER(Options), c.POINTER(Cleaned), ERR]),
}
_library: Optional[c.CDLL] = None


def library() -> c.CDLL:
    """libapptap: the one in this package, else $APPTAP_LIBRARY, else the system's."""
    global _library
    if _library is None:
        own = os.path.join(HERE, "lib", SONAME)
        lib = c.CDLL(own if os.path.exists(own) else os.environ.get("APPTAP_LIBRARY") or SONAME)
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        _library = lib
    return _library


def program() -> Optional[str]:
    """The program that came with this package, which is also the agent; None: the library's own."""
    own = os.path.join(HERE, "bin", "apptap")
    return own if os.access(own, os.X_OK) else None


def text(value: Optional[bytes]) -> str:
    """A text of the library, which is UTF-8."""
    return value.decode("utf-8", "replace") if value else ""


def check(result: int, err: Error) -> int:
    """@result, or the exception that @err describes."""
    if result < 0:
        raise errors.make(text(err.msg) or os.strerror(-result), err.code or -result, text(err.hint))
    return result


def call(name: str, *arguments: Any) -> int:
    """A function that ends with an error argument; what fails is raised."""
    err = Error()
    return check(getattr(library(), name)(*arguments, c.byref(err)), err)


def counters(raw: CCounters) -> Counters:
    return Counters(*(getattr(raw, name) for name in Counters._fields))


def uid(number: int) -> Optional[int]:
    return None if number == UID_NONE else number


def connection(raw: CConnection) -> Connection:
    return Connection(
        protocol=PROTOCOLS.get(raw.protocol) or f"ip-{raw.protocol}", family=raw.family,
        laddr=text(raw.local_text), lport=raw.local_port,
        raddr=text(raw.remote_text), rport=raw.remote_port,
        uid=uid(raw.uid), first_ns=raw.first_ns, last_ns=raw.last_ns,
        packets_out=raw.packets_out, packets_in=raw.packets_in,
        bytes_out=raw.bytes_out, bytes_in=raw.bytes_in,
        syn=bool(raw.tcp_flags & 1), fin=bool(raw.tcp_flags & 2), rst=bool(raw.tcp_flags & 4),
        community_id=text(raw.community_id), pid=raw.pid or None, command=text(raw.command))


class Names(dict):
    """Texts by their address; the library keeps each in its place as long as the session lives."""

    def __missing__(self, address: int) -> str:
        self[address] = name = c.string_at(address).decode("utf-8", "replace")
        return name


# Of a CPacket, natively aligned; what is not wanted is passed over.
PACKET = struct.Struct("@PIIQIIHB9xIPP16x")
assert PACKET.size == c.sizeof(CPacket)


def packets(address: int, count: int, names: Names) -> list[Packet]:
    """The @count packets at @address; their bytes lie in one block, in order."""
    array = (CPacket * count).from_address(address)
    base, last = array[0].data, array[count - 1]
    block = c.string_at(base, last.data + last.len - base)
    new = tuple.__new__
    return [
        new(Packet, (ts_ns, block[at - base:at - base + length], wire_len, network,
                     None if owner == UID_NONE else owner, DIRECTIONS[direction], protocol,
                     names[interface], pid, names[command]))
        for (at, length, wire_len, ts_ns, network, owner, protocol, direction, pid, interface,
             command) in PACKET.iter_unpack(array)
    ]
