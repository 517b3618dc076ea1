"""An app on a Linux machine over ssh: a real sshd on loopback, in a namespace, and the installed
client; as root, as a user with sudo, and as one who may not."""
import os
import pty
import pwd
import select
import shutil
import signal
import subprocess

import pytest

import lab
import phone as phone_module
from phone import AGENTS, free_port, until

UID = 5001
MAY, MAY_NOT = "at-may", "at-may-not"	# users that only the server knows; one may use sudo
SENDER = """
import os, select, socket, sys
os.setgid(%d); os.setuid(%d)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
n = 0
print("sending", flush=True)
while not select.select([sys.stdin], [], [], 0.001)[0]:
    n += 1
    s.sendto(b"app" + str(n).encode() + b"." * 200, s.getsockname()); s.recv(65536)
print(n, flush=True)
"""


def why_not():
    if os.geteuid():
        return "needs root"
    for tool in ("ssh", "ssh-keygen", "tshark"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.path.exists("/usr/sbin/sshd"):
        return "needs sshd (openssh-server)"
    if not os.path.exists(os.path.join(AGENTS, "apptap-x86_64")):
        return "needs the agent: ./dev agents"
    return None


class Server:
    """sshd on a port of its own, with keys of its own, and the client's configuration for it."""

    def __init__(self, folder):
        self.folder, self.port = str(folder), free_port()
        os.makedirs("/run/sshd", exist_ok=True)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file(name)],
                           check=True)
        os.chmod(self.folder, 0o755)
        with open(self.file("sshd_config"), "w", encoding="ascii") as f:
            f.write(f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.file('host')}\n"
                f"AuthorizedKeysFile /mnt/keys\nStrictModes no\nUsePAM no\n"
                f"PermitRootLogin yes\nPidFile none\n")
        with open(self.file("config"), "w", encoding="ascii") as f:
            f.write(f"Host box nobox\n HostName 127.0.0.1\n Port {self.port}\n"
                f" IdentityFile {self.file('user')}\n IdentitiesOnly yes\n BatchMode yes\n"
                f" StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n")
        # The user's own configuration is what counts: a client that reads ours as such.
        os.mkdir(self.file("bin"))
        for tool in ("ssh", "scp"):
            with open(self.file(f"bin/{tool}"), "w", encoding="ascii") as f:
                f.write(f"#!/bin/sh\nexec {shutil.which(tool)} -F {self.file('config')} \"$@\"\n")
            os.chmod(self.file(f"bin/{tool}"), 0o755)
        self.proc = subprocess.Popen(
            ["unshare", "-m", "sh", "-ec", self.make_users() + "exec /usr/sbin/sshd -D -e -f "
             + self.file("sshd_config")], stderr=subprocess.DEVNULL, preexec_fn=lab.die_with_parent)
        self.env = {**os.environ, "APPTAP_AGENTS": AGENTS,
            "PATH": f"{self.file('bin')}:{os.environ['PATH']}"}
        assert until(lambda: self.ssh("root@box", "true").returncode == 0) is not None

    def make_users(self):
        """The commands that add them, in a mount namespace: the machine's own files stay."""
        lines = {"passwd": "{0}:x:{1}:{1}::/tmp:/bin/sh\n", "group": "{0}:x:{1}:\n",
                 "shadow": "{0}:*:19000:0:99999:7:::\n"}
        added = {name: "".join(line.format(user, 5008 + i) for i, user in enumerate((MAY, MAY_NOT)))
                 for name, line in lines.items()}
        added["sudoers"] = f"\n{MAY} ALL=(ALL) NOPASSWD: ALL\n"
        script = ("mount --make-rprivate /; mount -t tmpfs tmpfs /mnt; mount -t tmpfs tmpfs /var/lib\n"
                  f"cp {self.file('user.pub')} /mnt/keys; chmod 644 /mnt/keys\n")
        for name, text in added.items():
            shutil.copy2(f"/etc/{name}", self.file(name))
            with open(self.file(name), "a", encoding="ascii") as f:
                f.write(text)
            script += f"mount --bind {self.file(name)} /etc/{name}\n"
        return script

    def file(self, name):
        return os.path.join(self.folder, name)

    def ssh(self, *args):
        return subprocess.run(["ssh", *args], env=self.env, capture_output=True, text=True,
                              timeout=lab.WAIT, check=False)

    def run(self, *args):
        return subprocess.run([lab.APPTAP, *args], env=self.env, capture_output=True, text=True,
                              timeout=lab.WAIT, check=False)

    def capture(self, *args, output):
        pairs = [f"{k}={self.env[k]}" for k in ("APPTAP_AGENTS", "PATH")]
        return lab.Capture(["env", *pairs, lab.APPTAP, *args, "-o", output], output)

    def agents(self):
        """The pushed agents that run there, and their folder."""
        found = []
        ns = os.readlink(f"/proc/{self.proc.pid}/ns/mnt")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/mnt") == ns and \
                        "/.apptap/" in os.readlink(f"/proc/{pid}/exe"):
                    found.append(int(pid))
            except OSError:
                continue
        folder = "/var/lib/.apptap"
        return found + [folder] * os.path.exists(f"/proc/{self.proc.pid}/root{folder}")

    def stop(self):
        self.proc.kill()
        self.proc.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    s = Server(tmp_path_factory.mktemp("ssh"))
    yield s
    s.stop()


@pytest.fixture
def sender():
    p = lab.Program(["/usr/bin/python3", "-c", SENDER % (UID, UID)])
    assert p.line() == "sending"
    yield p
    p.kill()


def packets(path):
    got = subprocess.run(["tshark", "-r", path, "-T", "fields", "-e", "udp.payload"],
                         capture_output=True, text=True, check=False)
    assert got.returncode == 0 and "cut short" not in got.stderr, got.stderr
    return [int(bytes.fromhex(x)[3:].split(b".")[0]) for x in got.stdout.split()]


def test_an_app_over_ssh(server, sender, tmp_path):
    path = str(tmp_path / "x.pcapng")
    capture = server.capture("--uid", str(UID), "--no-dns", "--ssh", "root@box", "--json", output=path)
    capture.wait_ready()
    assert lab.in_time(capture.ready_s, 10)
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    assert capture.stop() == 0, capture.talk
    got = sorted(set(packets(path)))
    assert got and got == list(range(got[0], got[-1] + 1))
    assert capture.json()["clock"]["uncertain_ms"] < 1000
    assert lab.in_time(until(lambda: not server.agents()), 2), server.agents()


@pytest.mark.parametrize("way", ["host KILL", "client KILL", "client TERM", "server"])
def test_nothing_is_left_when_ssh_is_cut(server, sender, tmp_path, way):
    path = str(tmp_path / "x.pcapng")
    capture = server.capture("--uid", str(UID), "--no-dns", "--ssh", "root@box", output=path)
    capture.wait_ready()
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    clients = [p for p in lab.family(capture.proc.pid)[1:]]
    if way == "host KILL":
        capture.proc.kill()
    elif way == "server":
        for pid in lab.family(server.proc.pid)[1:]:
            if "sshd" in os.readlink(f"/proc/{pid}/exe"):
                os.kill(pid, signal.SIGKILL)
    else:
        for pid in clients:
            os.kill(pid, getattr(signal, "SIG" + way.split()[1]))
    took = until(lambda: not server.agents())
    assert lab.in_time(took, 2), (took, server.agents())
    code = capture.proc.wait(lab.WAIT)
    if way != "host KILL":
        assert code == 1 and "cut" in "\n".join(capture.talk), capture.talk
    got = sorted(set(packets(path)))
    assert got and got == list(range(got[0], got[-1] + 1))


@pytest.mark.parametrize("way", ["stopped", "host KILL"])
def test_a_user_who_may_use_sudo(server, sender, tmp_path, way):
    path = str(tmp_path / "x.pcapng")
    capture = server.capture("--uid", str(UID), "--no-dns", "--ssh", f"{MAY}@box", output=path)
    capture.wait_ready()
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    if way == "stopped":
        assert capture.stop() == 0, capture.talk
    else:
        capture.proc.kill()
    took = until(lambda: not server.agents())
    assert lab.in_time(took, 2), (took, server.agents())
    got = sorted(set(packets(path)))
    assert got and got == list(range(got[0], got[-1] + 1))


def test_a_user_who_may_not_use_sudo(server, tmp_path):
    got = server.run("--uid", str(UID), "--ssh", f"{MAY_NOT}@box", "-o", str(tmp_path / "x.pcap"))
    assert got.returncode == 1 and "sudo" in got.stderr and "try: connect as root" in got.stderr


@pytest.mark.at_leisure
def test_what_a_killed_host_left_in_tmp_goes_with_the_next(server, sender, tmp_path):
    def folders():
        return {f for f in os.listdir("/tmp") if f.startswith("apptap-ssh-")}
    before = folders()
    capture = server.capture("--uid", str(UID), "--ssh", "root@box", output=str(tmp_path / "x.pcap"))
    capture.wait_ready()
    left = folders() - before
    assert len(left) == 1
    capture.proc.kill()
    capture.proc.wait()
    assert folders() >= left
    until(lambda: not os.listdir(f"/tmp/{min(left)}"), 12)	# its master goes 10 s after the last use
    assert server.run("--probe", "--ssh", "root@box").returncode == 0
    assert not folders() & left


def test_ctrl_c_where_ssh_asks_ends_it(server, tmp_path):
    """On a terminal of its own: whether the server's key is known is asked there."""
    config = tmp_path / "config"
    with open(server.file("config"), encoding="ascii") as f:
        config.write_text(f.read().replace("BatchMode yes", "").replace("Checking no", "Checking ask"))
    os.mkdir(tmp_path / "bin")
    (tmp_path / "bin/ssh").write_text(f"#!/bin/sh\nexec {shutil.which('ssh')} -F {config} \"$@\"\n")
    os.chmod(tmp_path / "bin/ssh", 0o755)
    env = {**server.env, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    pid, terminal = pty.fork()
    if not pid:
        os.execve(lab.APPTAP, [lab.APPTAP, "--uid", str(UID), "--ssh", "root@box", "-o",
                               str(tmp_path / "x.pcap")], env)
    said = b""
    while b"(yes/no" not in said:
        assert select.select([terminal], [], [], lab.WAIT)[0], said
        said += os.read(terminal, 4096)
    took = None
    for _ in range(10):	# ssh misses one that comes between its question and its read()
        os.write(terminal, b"\x03")
        took = until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, 1)
        if took is not None:
            break
    said += os.read(terminal, 4096)
    os.close(terminal)
    assert took is not None and b"it was ended by a signal" in said, said
    assert not (tmp_path / "x.pcap").exists()


def test_who_may_not_is_told_what_to_do(server, tmp_path):
    out = str(tmp_path / "x.pcap")
    user = pwd.getpwnam("nobody")
    assert user.pw_uid
    for destination, says in (("root@nowhere.invalid", "fails"), ("-oProxyCommand=x", "nowhere")):
        got = server.run("--uid", str(UID), "--ssh", destination, "-o", out)
        assert got.returncode in (1, 2) and says in got.stderr and "try:" in got.stderr, got.stderr
    assert not os.path.exists(out)
