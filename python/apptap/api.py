"""api.py - captures: one in a call, or a session that is started and stopped"""

from __future__ import annotations

import asyncio
import ctypes as c
import errno
import os
import queue
import threading
import warnings as python_warnings
import weakref
from typing import (Any, AsyncIterator, Callable, Generic, Iterator, NamedTuple, Optional, TypeVar)

from apptap import errors, native
from apptap.constants import DEFAULT_NFLOG_GROUP
from apptap.executors.adb import AdbExecutor
from apptap.executors.base import Executor
from apptap.executors.local import LocalExecutor
from apptap.executors.ssh import SshExecutor
from apptap.link import Link
from apptap.result import CaptureResult, Connection, ConnectionEvent, Counters, Packet
from apptap.targets import Breadth, Target, Tier, words

NO_UID = 2**32 - 1
WAIT_MS = 200  # how long a call into the library may keep Ctrl-C waiting
END = object()
T = TypeVar("T")
_inside = threading.local()


class TierStatus(NamedTuple):
    """Whether a tier works on a machine, and if not, why not and what to try."""

    name: str
    works: bool
    gist: str
    reason: str
    hint: str


class App(NamedTuple):
    """What a Target's package can name: a package of a device, else a program that runs."""

    name: str
    uid: int


class Cleaned(NamedTuple):
    """What cleanup() found."""

    processes_checked: int
    agents_ended: int
    agents_live: int
    files_removed: int
    chains_removed: int = 0
    cgroups_removed: int = 0
    filters_removed: int = 0
    files_in_use: int = 0
    captures_left: int = 0


def _encode(value: Optional[str]) -> Optional[bytes]:
    """For C, which would take what is before a NUL for all of it, and so another app or file."""
    text = None if value is None else os.fsencode(value)
    if text is not None and b"\0" in text:
        raise errors.OptionError(f"{value!r} has a NUL in it", errno.EINVAL)
    return text


def _words(values: tuple[str, ...]) -> Any:
    """A list of strings for C, ended by NULL."""
    return (c.c_char_p * (len(values) + 1))(*map(_encode, values), None)


def _milliseconds(seconds: Optional[float]) -> int:
    """0: without an end."""
    if seconds is None:
        return 0
    if not 0 <= seconds < float("inf"):
        raise errors.OptionError(f"{seconds} is no duration", errno.EINVAL)
    return max(1, round(seconds * 1000))


def _where(executor: Executor, keep: list[Any]) -> dict[str, Any]:
    """The options that lead to @executor; what they point to goes into @keep.

    The three that the library knows better are taken by their very class: whoever derives from them
    wants to be asked.
    """
    agents = os.path.join(native.HERE, "agents")
    more = {"agents": os.fsencode(agents)} if os.path.isdir(agents) else {}
    if type(executor) is LocalExecutor:
        return {"agent": _encode(native.program()), "sudo": 0 if executor.use_sudo else 1}
    if type(executor) is AdbExecutor:
        return {"device": _encode(executor.device_id or ""), **more}
    if type(executor) is SshExecutor:
        return {"ssh": _encode(executor.destination), **more}
    link = Link(executor)
    keep.append(link)
    return {"link": c.pointer(link.table), **more}


def _tier(name: str) -> Any:
    """A library newer than this package may have others: then its plain name."""
    try:
        return Tier(name)
    except ValueError:
        return name


def _whose(target: Target, tier: Tier) -> dict[str, Any]:
    if tier is Tier.WHOLE_DEVICE:
        return {"whole_device": 1}
    if target.package:
        return {"target": _encode(target.package), "android_user": _encode(target.android_user)}
    if target.pid is not None:
        return {"pid": target.pid, "tree": int(target.tree),
                "process_only": int(target.process_only)}
    if target.uids and not target.user:
        for uid in target.uids:
            if not 0 <= uid < NO_UID:  # ctypes would make another user's of it
                raise errors.OptionError(f"{uid} is no user's ID", errno.EINVAL)
        return {"uids": (c.c_uint32 * len(target.uids))(*target.uids),
                "uid_count": len(target.uids)}
    if target.command and not (target.user or target.cgroup or target.unit or target.container):
        return {"command": _words(target.command)}
    return next({name: _encode(value)} for name in ("user", "cgroup", "unit", "container")
                for value in [getattr(target, name)] if value)


class _Live(Generic[T]):
    """An iterator, in a `for` or an `async for`, over what a session delivers."""

    def __init__(self, get: Callable[[], Any]) -> None:
        self._get = get

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._get()
        if item is END:
            raise StopIteration
        return item

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        item = await asyncio.get_running_loop().run_in_executor(None, self._get)
        if item is END:
            raise StopAsyncIteration
        return item


class CaptureSession:
    """A capture that its owner starts and stops.

        with CaptureSession(target, executor, "app.pcap") as cap:
            cap.start()
            ...
            cap.stop()
        cap.result

    `output` is a path, a file object with a descriptor, or None where packets, connections or
    progress are all that is wanted. `packets` and `connections` (true) make packets() and
    connections() deliver while the capture runs. `on_progress` gets Counters four times a second and
    `on_warning` each warning, both in a thread of the library's.
    """

    _handle: Optional[native.SESSION] = None
    _started = False

    def __init__(
        self,
        target: Target,
        executor: Executor,
        output: Any,
        *,
        breadth: Breadth = Breadth.APP_ISOLATED_DNS,
        tier: Tier = Tier.AUTO,
        nflog_group: int = DEFAULT_NFLOG_GROUP,
        tcpdump_path: Optional[str] = None,
        duration: Optional[float] = None,
        count: Optional[int] = None,
        snaplen: Optional[int] = None,
        interfaces: tuple[str, ...] = (),
        buffer_bytes: Optional[int] = None,
        format: Optional[str] = None,
        packets: bool = False,
        connections: bool = False,
        on_progress: Optional[Callable[[Counters], None]] = None,
        on_warning: Optional[Callable[[str], None]] = None,
    ) -> None:
        self.target = target
        self.executor = executor
        self.output = output
        self.breadth = Breadth(breadth)  # their values do too: "app", "bpf"
        self.requested_tier = Tier(tier)
        self.nflog_group = nflog_group
        self.tcpdump_path = tcpdump_path
        self.duration = duration
        self.count = count
        self.snaplen = snaplen
        self.interfaces = words("interfaces", interfaces)
        self.buffer_bytes = buffer_bytes
        self.format = format
        self.result: Optional[CaptureResult] = None
        self._on_progress, self._on_warning = on_progress, on_warning
        self._wants_packets = packets
        self._news: Optional[queue.SimpleQueue] = queue.SimpleQueue() if connections else None
        self._mark = object()  # is _inside.mark while a callback of ours runs
        self._over = threading.Event()
        self._names = native.Names()
        self._batch: Iterator[Packet] = iter(())
        self._keep: list[Any] = []  # what the library points to

    # --- the life of a capture

    def start(self) -> CaptureSession:
        """Returns when the app's next packet is captured. What fails is raised; nothing is left."""
        if self._started:
            raise RuntimeError("CaptureSession already started")
        if self._handle is not None:
            raise RuntimeError("a CaptureSession starts once")
        options = self._options()
        handle = native.SESSION()
        native.call("apptap_session_new", c.byref(handle), c.byref(options))
        self._handle = handle
        self._keep.append(options)
        try:
            native.call("apptap_session_start", handle)
        except BaseException:
            self.teardown()
            raise
        self._started = True
        return self

    def stop(self) -> CaptureResult:
        """Ends the capture. The file is complete and `result` filled when this returns.

        Raises what the capture failed with; `result` then says what there was until then.
        """
        if not self._started or self._handle is None:
            raise RuntimeError("CaptureSession not started")
        if getattr(_inside, "mark", None) is self._mark:
            raise RuntimeError("a callback cannot stop its own capture: use interrupt()")
        self._started = False
        raw, err = c.POINTER(native.Result)(), native.Error()
        code = native.library().apptap_session_stop(self._handle, c.byref(raw), c.byref(err))
        self._end()
        if raw:
            self.result = self._result(raw.contents)
        native.check(code, err)
        assert self.result is not None
        return self.result

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for the capture to end by itself; false: time ran out. stop() tells how it ended."""
        if self._handle is None:
            raise RuntimeError("CaptureSession not started")
        left_ms = None if timeout is None else int(timeout * 1000)
        while True:
            step = WAIT_MS if left_ms is None else min(WAIT_MS, left_ms)
            if native.call("apptap_session_wait", self._handle, step):
                return True
            if left_ms is not None:
                left_ms -= step
                if left_ms <= 0:
                    return False

    def interrupt(self) -> None:
        """Asks for the end without waiting for it; from any thread, at any time."""
        if self._handle is not None:
            native.library().apptap_session_interrupt(self._handle)

    def teardown(self) -> None:
        """Frees what is left of the capture, ending it if need be. Can be repeated; never raises."""
        handle, self._handle = self._handle, None
        self._started = False
        if handle is None:
            return
        self._end()
        if getattr(_inside, "mark", None) is self._mark:
            # The last reference went in the library's own thread, which cannot end itself.
            threading.Thread(target=_free, args=(handle, self._keep)).start()
        else:
            _free(handle, self._keep)

    def __enter__(self) -> CaptureSession:
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        try:
            if self._started:
                self.stop()
        except errors.AppTapError:
            if kind is None:
                raise
        finally:
            self.teardown()

    async def __aenter__(self) -> CaptureSession:
        """Unlike `with`, `async with` starts the capture: start() would hold the loop up."""
        if not self._started:
            await asyncio.get_running_loop().run_in_executor(None, self.start)
        return self

    async def __aexit__(self, kind: Any, value: Any, traceback: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(
            None, self.__exit__, kind, value, traceback)

    def __del__(self) -> None:
        self.teardown()

    # --- what passes while it runs

    def packet_batches(self) -> _Live[list[Packet]]:
        """Lists of packets, as they come, until the capture is over and all were read."""
        if not self._wants_packets:
            raise RuntimeError("make the CaptureSession with packets=True")
        return _Live(self._read)

    def packets(self) -> _Live[Packet]:
        """Packets one by one; packet_batches() is faster."""
        if not self._wants_packets:
            raise RuntimeError("make the CaptureSession with packets=True")
        return _Live(self._read_one)

    def connections(self) -> _Live[ConnectionEvent]:
        """A ConnectionEvent for each connection that begins or ends, until the capture is over."""
        if self._news is None:
            raise RuntimeError("make the CaptureSession with connections=True")
        return _Live(self._next_news)

    def _read(self) -> Any:
        found = c.c_void_p()
        err = native.Error()
        while self._handle is not None:
            count = native.library().apptap_session_read(self._handle, WAIT_MS, c.byref(found),
                                                         c.byref(err))
            if count == -errno.ENODATA:
                return END
            if native.check(count, err):
                return native.packets(found.value or 0, count, self._names)
        return END

    def _read_one(self) -> Any:
        for packet in self._batch:
            return packet
        batch = self._read()
        if batch is END:
            return END
        self._batch = iter(batch)
        return next(self._batch)

    def _next_news(self) -> Any:
        assert self._news is not None
        while True:
            try:
                item = self._news.get(timeout=WAIT_MS / 1000)
            except queue.Empty:
                if self._over.is_set() or self._handle is None or self.wait(0):
                    if self._news.empty():
                        return END
                continue
            return item

    def _end(self) -> None:
        self._over.set()

    # --- to and from the library

    def _take_event(self, event: Any) -> None:
        ev = event.contents
        if ev.type == native.STATUS and self._on_progress:
            self._on_progress(native.counters(ev.counters.contents))
        elif ev.type == native.WARNING and self._on_warning:
            self._on_warning(native.text(ev.text))
        elif ev.type in (native.CONNECTION_NEW, native.CONNECTION_CLOSED) and self._news:
            self._news.put(ConnectionEvent(ev.type == native.CONNECTION_CLOSED,
                                           native.connection(ev.connection.contents)))

    def _output(self) -> dict[str, Any]:
        if self.output is None:
            return {}
        if hasattr(self.output, "fileno"):
            self.output.flush()
            return {"output_fd": self.output.fileno()}
        return {"output": _encode(self.output)}

    def _options(self) -> native.Options:
        group = 0 if self.nflog_group == DEFAULT_NFLOG_GROUP else self.nflog_group
        values: dict[str, Any] = {
            "breadth": self.breadth.value.encode(), "nflog_group": group,
            "snaplen": self.snaplen or 0, "buffer_bytes": self.buffer_bytes or 0,
            "format": _encode(self.format), "count": self.count or 0,
            "duration_ms": _milliseconds(self.duration),
            "read_packets": int(self._wants_packets),
            "events_of_connections": int(self._news is not None),
            **_whose(self.target, self.requested_tier), **_where(self.executor, self._keep),
            **self._output(),
        }
        if self.requested_tier is not Tier.WHOLE_DEVICE:
            values["tier"] = self.requested_tier.value.encode()
        if self.interfaces:
            values["interfaces"] = _words(self.interfaces)
            values["interface_count"] = len(self.interfaces)
        if self._on_progress or self._on_warning or self._news:
            values["event"] = native.EVENT_FN(_event_taker(weakref.ref(self), self._mark))
            self._keep.append(values["event"])
        if self.tcpdump_path is not None:
            python_warnings.warn(_TCPDUMP, UserWarning, stacklevel=3)
        return native.Options(**values)

    def _result(self, raw: native.Result) -> CaptureResult:
        reasons = {raw.uids[i].uid: native.text(raw.uids[i].why) for i in range(raw.uid_count)}
        said = [native.text(raw.warnings[i]) for i in range(raw.warning_count)]
        if self.tcpdump_path is not None:
            said.insert(0, _TCPDUMP)
        return CaptureResult(
            tier=Tier.WHOLE_DEVICE if raw.whole_device else _tier(native.text(raw.tier)),
            uids=frozenset(reasons),
            connections=tuple(native.connection(raw.connections[i])
                              for i in range(raw.connection_count)),
            pcap_path=None if self.output is None or hasattr(self.output, "fileno")
            else os.fspath(self.output),
            linktype=raw.linktype,
            warnings=said,
            reasons=reasons,
            cgroups={native.text(raw.cgroups[i].path): native.text(raw.cgroups[i].why)
                     for i in range(raw.cgroup_count)},
            processes={raw.processes[i].pid: native.text(raw.processes[i].why)
                       for i in range(raw.process_count)},
            command_status=raw.command_status if raw.command_pid and raw.command_status >= 0
            else None,
            clock_ahead_ns=raw.clock_ahead_ns if raw.clock_known else None,
            counters=native.counters(raw.counters.contents),
            connections_total=raw.connections_total,
            ended_by=native.text(raw.ended_by),
            format=native.text(raw.format) or None,
            snaplen=raw.snaplen)


def _event_taker(session: Any, mark: object) -> Callable[[Any, Any], None]:
    """A callback that does not keep its session alive."""
    def take(_arg: Any, event: Any) -> None:
        _inside.mark = mark
        alive = session()
        try:
            if alive is not None:
                alive._take_event(event)
        finally:
            alive = None  # may be the last reference: while the mark still tells where we are
            _inside.mark = None

    return take


def _free(handle: Any, keep: list[Any]) -> None:
    native.library().apptap_session_free(handle)
    keep.clear()


_TCPDUMP = "tcpdump_path is ignored: AppTap captures by itself"


def capture(
    target: Target,
    executor: Executor,
    output: Any,
    *,
    breadth: Breadth = Breadth.APP_ISOLATED_DNS,
    tier: Tier = Tier.AUTO,
    nflog_group: int = DEFAULT_NFLOG_GROUP,
    duration: Optional[float] = None,
    tcpdump_path: Optional[str] = None,
    **more: Any,
) -> CaptureResult:
    """Captures for `duration` seconds, or until Ctrl-C. `more` is what a CaptureSession takes."""
    with CaptureSession(target, executor, output, breadth=breadth, tier=tier,
                        nflog_group=nflog_group, duration=duration, tcpdump_path=tcpdump_path,
                        **more) as session:
        session.start()
        try:
            session.wait()
        except KeyboardInterrupt:
            pass
        return session.stop()


def probe(executor: Executor) -> list[TierStatus]:
    """The tiers of a machine, best first, and whether each works there."""
    keep: list[Any] = []
    options, found = native.Options(**_where(executor, keep)), c.POINTER(native.TierList)()
    try:
        native.call("apptap_probe", c.byref(options), c.byref(found))
        tiers = found.contents
        return [TierStatus(native.text(t.name), bool(t.works), native.text(t.gist),
                           native.text(t.reason), native.text(t.hint))
                for t in (tiers.tiers[i] for i in range(tiers.tier_count))]
    finally:
        native.library().apptap_tier_list_free(found)


def list_apps(executor: Executor) -> list[App]:
    """The apps of a machine: a device's packages, else the programs that run, each once a user."""
    keep: list[Any] = []
    options, found = native.Options(**_where(executor, keep)), c.POINTER(native.AppList)()
    try:
        native.call("apptap_list_apps", c.byref(options), c.byref(found))
        apps = found.contents
        return [App(native.text(apps.apps[i].name), apps.apps[i].uid)
                for i in range(apps.app_count)]
    finally:
        native.library().apptap_app_list_free(found)


def cleanup(executor: Executor) -> Cleaned:
    """Removes what earlier captures may have left on a machine."""
    keep: list[Any] = []
    options, out = native.Options(**_where(executor, keep)), native.Cleaned()
    out.size = c.sizeof(out)
    native.call("apptap_cleanup", c.byref(options), c.byref(out))
    return Cleaned(*(getattr(out, name) for name in Cleaned._fields))
