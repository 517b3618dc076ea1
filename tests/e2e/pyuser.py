"""pyuser.py - scripts of a user's of the Python package: what they begin with, and how they are run"""
import json
import os
import subprocess
import sys
import textwrap

import lab

BUILD = os.path.abspath(lab.BUILD)
ENV = {
    **os.environ,
    "PYTHONPATH": os.path.join(lab.REPO, "python"),
    "PYTHONDONTWRITEBYTECODE": "1",
    "APPTAP_LIBRARY": os.path.join(BUILD, "libapptap.so"),
    "APPTAP_AGENT": os.path.abspath(lab.APPTAP),
}
# What every script begins with: an app (UID 5001) and a bystander, both talking to themselves.
PREAMBLE = """
import json, os, socket, subprocess, sys, threading, time
import apptap

def talk(uid, count, payload):
    pid = os.fork()
    if not pid:
        os.setgid(uid); os.setuid(uid)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0)); s.connect(s.getsockname())
        for _ in range(count):
            s.send(payload); s.recv(100)
        os._exit(0)
    os.waitpid(pid, 0)

def both(count=50):
    talk(5001, count, b"of the app"); talk(5002, count, b"of the bystander")

app = apptap.Target(uids=[5001])
here = apptap.LocalExecutor()
"""


def user(net, script, *args, code=0, prefix=(), flags=("-n",), **env):
    """Runs @script; returns the JSON that it printed last."""
    done = subprocess.run(
        net.enter(*flags) + [*prefix, sys.executable, "-c", PREAMBLE + textwrap.dedent(script),
                           *map(str, args)],
        capture_output=True, text=True, timeout=2 * lab.WAIT, env={**ENV, **env})
    assert done.returncode == code, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else done.stderr


# A tool's own executor.
PLUMBING = """
import shlex

class Plumbing:
    # A tool's own: it quotes, elevates, and counts what goes through it. No stdin for what it starts.
    platform, is_rooted = "android", True
    def __init__(self, serial):
        self.serial, self.calls = serial, []
    def adb(self, *args, timeout=60):
        self.calls.append(args[0])
        done = subprocess.run(["adb", "-s", self.serial, *args], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)
        return apptap.CmdResult(done.returncode, done.stdout, done.stderr)
    def run(self, *args, timeout=None):
        return self.adb(*args, timeout=timeout)
    def elevated(self, args):
        return "su -c " + shlex.quote(" ".join(map(shlex.quote, args)))
    def shell(self, *args, background=False, timeout=None):
        if background:
            self.calls.append("background")
            return subprocess.Popen(["adb", "-s", self.serial, "shell", self.elevated(args)],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)
        return self.adb("shell", self.elevated(args), timeout=timeout)
    def push_file(self, local, remote):
        return self.adb("push", local, remote)
    def pull_file(self, remote, local):
        return self.adb("pull", remote, local)

class Handing(Plumbing):
    # Its shell() hands over a process that runs, whoever asks.
    def shell(self, *args, background=False, timeout=None):
        return super().shell(*args, background=True)
"""
