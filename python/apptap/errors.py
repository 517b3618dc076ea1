"""errors.py - what the library's errors become: exceptions with its message, code and hint"""

from __future__ import annotations

import errno


class AppTapError(RuntimeError):
    """Something failed. `message` is a sentence, `code` an errno, `hint` what to try (or "")."""

    def __init__(self, message: str, code: int = 0, hint: str = "") -> None:
        super().__init__(f"{message} (try: {hint})" if hint else message)
        self.message = message
        self.code = code
        self.hint = hint


class OptionError(AppTapError, ValueError):
    """The options contradict each other, miss something, or are out of range."""


class TargetError(AppTapError, LookupError):
    """There is no such app, or there are several; nothing was captured."""


class RightsError(AppTapError, PermissionError):
    """Root's rights are needed there and cannot be had."""

    def __init__(self, message: str, code: int = errno.EPERM, hint: str = "") -> None:
        AppTapError.__init__(self, message, code, hint)
        self.errno = code


class TierError(AppTapError):
    """No tier works there."""


class CaptureLost(AppTapError, ConnectionError):
    """The agent, or the link to it, ended before the capture did."""

    def __init__(self, message: str, code: int = errno.ECONNRESET, hint: str = "") -> None:
        AppTapError.__init__(self, message, code, hint)
        self.errno = code


KINDS: dict[int, type[AppTapError]] = {
    errno.EINVAL: OptionError,
    errno.ESRCH: TargetError,
    errno.ENOTUNIQ: TargetError,
    errno.EPERM: RightsError,
    errno.ENOTSUP: TierError,
    errno.ECONNRESET: CaptureLost,
}


def make(message: str, code: int, hint: str) -> AppTapError:
    """The exception for an error of the library."""
    return KINDS.get(code, AppTapError)(message, code, hint)
