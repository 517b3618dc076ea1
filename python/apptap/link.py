"""link.py - any object that is an executor, as the library's table of a transport"""

from __future__ import annotations

import ctypes as c
import errno
import subprocess
from typing import Any, Callable

from apptap import native
from apptap.executors.base import CmdResult, Executor


class Link:
    """@executor behind the C functions that the library calls; must live as long as its session.

    What `shell(background=True)` returns has no stdin to speak of, so there is no `stream` here: the
    agent goes to the background by itself, and its file is pulled at the end.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.platform = c.create_string_buffer(str(executor.platform).encode())
        self.table = native.Link(
            size=c.sizeof(native.Link), name=type(executor).__name__.encode(),
            run=native.RUN_FN(self._run), push=native.COPY_FN(self._push),
            pull=native.COPY_FN(self._pull),
            is_root=native.IS_ROOT_FN(self._is_root),
            platform=native.PLATFORM_FN(lambda _arg: c.addressof(self.platform)))

    @staticmethod
    def _guard(err: Any, do: Callable[[], int]) -> int:
        """@do, with what it raises told to the library."""
        try:
            return do()
        except BaseException as error:  # nothing may pass through C
            code = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
            if isinstance(error, (TimeoutError, subprocess.TimeoutExpired)):
                code = errno.ETIMEDOUT
            err.contents.code = code
            err.contents.msg = f"{type(error).__name__}: {error}".encode()[:511]
            return -code

    @staticmethod
    def _argv(argv: Any) -> list[str]:
        args: list[str] = []
        while argv[len(args)] is not None:
            args.append(argv[len(args)].decode("utf-8", "surrogateescape"))
        return args

    @staticmethod
    def _bytes(value: Any) -> bytes:
        if value is None:
            return b""
        return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")

    @staticmethod
    def _ended(done: Any, timeout: float) -> Any:
        """What shell() came to; it may have returned a process that still runs."""
        if isinstance(done, subprocess.Popen):
            try:
                out, said = done.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                done.kill()
                done.communicate()
                raise
            return CmdResult(done.returncode, out, said)
        return done

    def _run(self, _arg: Any, argv: Any, timeout_ms: int, answer: Any, err: Any) -> int:
        def do() -> int:
            done = self._ended(self.executor.shell(*self._argv(argv), timeout=timeout_ms / 1000),
                               timeout_ms / 1000)
            out, said = self._bytes(done.stdout), self._bytes(done.stderr).strip()
            library = native.library()
            library.apptap_answer_output(answer, out, len(out))
            library.apptap_answer_status(answer, done.returncode, said.rpartition(b"\n")[2])
            return 0

        return self._guard(err, do)

    def _copy(self, method: Callable[[str, str], Any], source: bytes, target: bytes, err: Any) -> int:
        def do() -> int:
            done = method(source.decode("utf-8", "surrogateescape"),
                          target.decode("utf-8", "surrogateescape"))
            if done is None or done.returncode == 0:
                return 0
            said = self._bytes(done.stderr or done.stdout).strip().decode("utf-8", "replace")
            raise OSError(errno.EIO, said or f"exit status {done.returncode}")

        return self._guard(err, do)

    def _push(self, _arg: Any, local: bytes, remote: bytes, err: Any) -> int:
        return self._copy(self.executor.push_file, local, remote, err)

    def _pull(self, _arg: Any, remote: bytes, local: bytes, err: Any) -> int:
        return self._copy(self.executor.pull_file, remote, local, err)

    def _is_root(self, _arg: Any, err: Any) -> int:
        return self._guard(err, lambda: int(bool(self.executor.is_rooted)))
