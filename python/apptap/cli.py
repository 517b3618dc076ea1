"""cli.py - the program apptap, as `python -m apptap`"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Optional, Sequence

from apptap import native


def find() -> str:
    """The program: this package's own, $APPTAP_AGENT, or the one in PATH."""
    found = native.program() or os.environ.get("APPTAP_AGENT") or shutil.which("apptap")
    if not found:
        raise SystemExit("apptap: the program apptap is not installed")
    return found


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the program with @argv (else our own arguments) and returns its exit code."""
    try:
        return subprocess.call([find(), *(sys.argv[1:] if argv is None else argv)])
    except KeyboardInterrupt:  # it has got the same Ctrl-C, and we its output
        return 130
