"""executors - where commands run: this machine, a phone over adb, or a transport of your own"""

from apptap.executors.base import BackgroundProc, CmdResult, Executor

__all__ = ["BackgroundProc", "CmdResult", "Executor"]
