"""phone.py - a stand-in phone behind the real adb daemon (tests/device), and a server of adb's own

Each phone has a name, a port and namespaces of its own; adb's server listens on a port that nobody
else uses, so that the machine's devices are not touched, and ends with the phone.
"""
import os
import random
import shutil
import signal
import socket
import subprocess
import time

import lab
import processes

DEVICE = os.path.join(lab.REPO, "tests", "device")
WORK = os.path.join(lab.BUILD, "device")
AGENTS = os.path.join(lab.BUILD, "agents")
WAIT = lab.WAIT
APP, OTHER = 10123, 10124
PACKAGE = "com.example.app"

# Sends datagrams with a text of its own to the far side of wlan0, until its stdin ends.
SENDER = """
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
print("sending", flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    n += 1
    s.sendto(sys.argv[2].encode() + str(n).encode() + b"." * int(sys.argv[3]), (sys.argv[1], 9))
print(n, flush=True)
"""


# The same among the phone's processes: says its PID, waits for "go", and then is who it shall be.
PROCESS = """
import os, select, socket, sys
print(os.getpid(), flush=True)
sys.stdin.readline()
os.setgroups([]); os.setresgid(*[int(sys.argv[1])] * 3); os.setresuid(*[int(sys.argv[1])] * 3)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    n += 1
    s.sendto(sys.argv[2].encode() + str(n).encode() + b".", ("10.66.0.1", 9))
print(n, flush=True)
"""


def why_not():
    """Why there can be no phone here; None: there can be one. Builds what it needs, once."""
    if os.geteuid():
        return "needs root"
    for tool in ("adb", "mksh", "toybox", "g++", "nsenter"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.path.exists(os.path.join(AGENTS, "apptap-x86_64")):
        return "needs the agent: ./dev agents"
    got = subprocess.run([os.path.join(DEVICE, "get-adbd.sh")], capture_output=True, text=True,
                         env={**os.environ, "DEVICE_WORK": WORK})
    return f"needs Debian's adbd: {got.stderr[-200:]}" if got.returncode else None


def free_port():
    """One that no connection gets by itself until it is listened on: outside of their range, which
    other tests draw from all the time."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def until(what, timeout=WAIT):
    """Asks again until it is so; returns the seconds that it took, None: it never was."""
    start = time.monotonic()
    while not what():
        if time.monotonic() - start > timeout:
            return None
        time.sleep(0.01)
    return time.monotonic() - start


class Phone:
    count = 0

    def __init__(self, su="magisk", netns=None, adbd="shell", options=()):
        Phone.count += 1
        self.name = f"at{os.getpid()}-{Phone.count}"
        self.port, self.server_port = free_port(), free_port()
        self.env = {**os.environ, "DEVICE_WORK": WORK, "APPTAP_AGENTS": AGENTS,
            "ANDROID_ADB_SERVER_PORT": str(self.server_port)}
        self.env.pop("ANDROID_SERIAL", None)
        self.running, self.programs = False, []
        options = ["--su", su, "--adbd-user", adbd, "--adb", f"host:{self.port}", *options]
        self.serial = self.device("start", *options, *(["--netns", netns] if netns else []))
        self.running = True
        self.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def script(self, verb, *args):
        return [os.path.join(DEVICE, "device.sh"), verb, self.name, *args]

    def device(self, verb, *args, check=True):
        got = subprocess.run(self.script(verb, *args), env=self.env, text=True, timeout=WAIT,
                             capture_output=True, check=False)
        if check and got.returncode:
            raise lab.LabError(f"device.sh {verb}: {got.stderr}")
        return got.stdout.strip()

    def adb(self, *args, check=True):
        got = subprocess.run(["adb", *args], env=self.env, capture_output=True, text=True,
                             timeout=WAIT, check=False)
        if check and got.returncode:
            raise lab.LabError(f"adb {args}: {got.stdout} {got.stderr}")
        return got.stdout

    def connect(self):
        self.adb("connect", self.serial)
        if until(self.is_attached) is None:
            raise lab.LabError("the phone does not come up")

    def become(self, su):
        """Another su, or "none"; they differ by a word in a file, and by being there."""
        root = os.path.join(WORK, "dev", self.name, "root")
        os.chmod(f"{root}/system/bin/su", 0 if su == "none" else 0o4755)
        with open(f"{root}/system/etc/sim_su", "w", encoding="ascii") as f:
            f.write(su)

    def is_attached(self):
        return self.adb("-s", self.serial, "get-state", check=False) == "device\n"

    def exec(self, *argv, check=True):
        """As root in all of the phone's namespaces, past adb."""
        return self.device("exec", *argv, check=check)

    def sent(self):
        """Packets that left wlan0 so far."""
        return int(self.exec("cat", "/sys/class/net/wlan0/statistics/tx_packets"))

    def init_pid(self):
        with open(os.path.join(WORK, "dev", self.name, "init.pid"), encoding="ascii") as f:
            return int(f.read())

    def pids(self, name):
        """Processes of the phone that run a program of this name."""
        found = []
        ns = os.readlink(f"/proc/{self.init_pid()}/ns/pid")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == ns and \
                        os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith(name):
                    found.append(int(pid))
            except OSError:
                pass
        return found

    def leftovers(self):
        """What a capture left on the phone: its processes and files."""
        found = [f"process {p}" for p in self.pids("apptap")]
        root = os.path.join(WORK, "dev", self.name, "root")
        for base in ("data", "tmp", "sdcard"):
            for folder, folders, files in os.walk(os.path.join(root, base)):
                found += [os.path.join(folder, n)[len(root):] for n in folders + files
                      if "apptap" in os.path.join(folder, n)[len(root):]]
        return found

    def rules(self):
        """Chains of ours, as iptables tells them."""
        return [line for line in self.exec("iptables-save").split("\n") if "APPTAP" in line]

    def sender(self, uid, text, to="10.66.0.1", size=0):
        p = lab.Program(self.script("app", str(uid), "/usr/bin/python3", "-c", SENDER, to, text,
                        str(size)))
        self.programs.append(p)
        if p.line() != "sending":
            raise lab.LabError("the sender did not start")
        return p

    def process(self, uid, name, text):
        """A process of that name, and the PID that the phone knows it by."""
        p = lab.Program(["nsenter", "-t", str(self.init_pid()), "-p", "-n", "bash", "-c",
                         'exec -a "$0" /usr/bin/python3 "$@"', name, "-c", PROCESS, str(uid), text])
        self.programs.append(p)
        return p, int(p.line())

    def write(self, path, text):
        with open(os.path.join(WORK, "dev", self.name, "root") + path, "w", encoding="ascii") as f:
            f.write(text)

    def capture(self, *args, output="-", env=()):
        """A capture as a lab.Capture; output "-": none is named, the caller does."""
        argv = [lab.APPTAP, *args]
        if output != "-":
            argv += ["-o", output]
        pairs = {k: self.env[k] for k in ("APPTAP_AGENTS", "ANDROID_ADB_SERVER_PORT")}
        pairs.update(env)
        c = lab.Capture(["env", *(f"{k}={v}" for k, v in pairs.items()), *argv], output)
        self.programs.append(c)
        return c

    def run(self, *args, timeout=WAIT):
        return subprocess.run([lab.APPTAP, *args], env=self.env, capture_output=True, text=True,
                              timeout=timeout, check=False)

    def kill_server(self):
        for pid in self.server_pids():
            os.kill(pid, signal.SIGKILL)

    def server_pids(self):
        """adb's server is the process that holds its port."""
        return [pid for pid in processes.everybody() for words in [processes.words(pid)]
                if words[:1] == ["adb"] and "fork-server" in words and
                any(f"{self.server_port}" in w for w in words)]

    def client_pids(self):
        """The adb clients that hold a stream open."""
        return [pid for pid in processes.everybody() for words in [processes.words(pid)]
                if words[:1] == ["adb"] and self.serial in words and "shell" in words]

    def stop(self):
        for p in self.programs:
            p.kill()
        self.adb("kill-server", check=False)
        if self.running:
            self.running = False
            self.device("stop", check=False)
