"""AppTap captures the network traffic of one application, and nothing of any other.

    import apptap

    result = apptap.capture(
        target=apptap.Target(package="com.example.app"),
        executor=apptap.LocalExecutor(),
        output="app.pcap",
        duration=10,
    )
    print(result.tier, result.uids, result.pcap_path)
"""

from apptap.about import __author__, __license__, __version__
from apptap.api import (App, CaptureSession, Cleaned, TierStatus, capture, cleanup, list_apps,
                        probe)
from apptap.errors import (AppTapError, CaptureLost, OptionError, RightsError, TargetError,
                           TierError)
from apptap.executors.adb import AdbExecutor
from apptap.executors.base import BackgroundProc, CmdResult, Executor
from apptap.executors.local import LocalExecutor
from apptap.executors.ssh import SshExecutor
from apptap.result import (CaptureResult, Connection, ConnectionEvent, Counters, Direction,
                           Packet)
from apptap.targets import Breadth, Target, Tier

__all__ = [
    "AdbExecutor", "App", "AppTapError", "BackgroundProc", "Breadth", "CaptureLost", "CaptureResult", "CaptureSession",
    "Cleaned", "CmdResult", "Connection", "ConnectionEvent", "Counters", "Direction", "Executor",
    "LocalExecutor", "OptionError", "Packet", "RightsError", "SshExecutor", "Target", "TargetError", "Tier",
    "TierError", "TierStatus", "__author__", "__license__", "__version__", "capture", "cleanup",
    "list_apps", "probe",
]
