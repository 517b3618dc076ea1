"""show.py - what ./dev demo shows: AppTap captures one of two programs, and is put to the proof

usage: show.py APP_NAMESPACE SERVER_NAMESPACE FOLDER    (run.sh makes and removes all three)
"""
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(REPO, "tests", "e2e"))
import truth  # noqa: E402

APP_NS, SRV_NS, FOLDER = sys.argv[1:4]
BUILD = os.environ.get("APPTAP_BUILD", os.path.join(REPO, "build"))
OUTPUT = "demo.pcapng"
SECONDS = 4
READY = re.compile(rb"\bready\b|\bcapturing\b|\blistening on\b", re.I)
BOLD, DIM, GREEN, RED, PLAIN = (("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m")
                                if sys.stdout.isatty() and "NO_COLOR" not in os.environ else
                                ("",) * 5)
running = []


class Failed(Exception):
    pass


def start(namespace, *argv, **options):
    p = subprocess.Popen(["nsenter", f"--net=/run/netns/{namespace}", *argv], **options)
    running.append(p)
    return p


def talk(namespace, *argv, **options):
    return start(namespace, sys.executable, os.path.join(HERE, "talk.py"), *argv, **options)


class Watched:
    """A capturing program. What it says reaches the screen as if it stood there itself, a status
    line on a terminal included, and tells when it is ready."""

    def __init__(self, *argv, show):
        self.event, self.said, self.show = threading.Event(), b"", show
        if show and sys.stderr.isatty():
            self.fd, other = pty.openpty()
            try:    # as wide as the real one
                import fcntl
                import termios
                size = fcntl.ioctl(2, termios.TIOCGWINSZ, b"\0" * 8)
                fcntl.ioctl(other, termios.TIOCSWINSZ, size)
            except OSError:
                pass
        else:
            self.fd, other = os.pipe()
        self.proc = start(APP_NS, *argv, stdin=subprocess.DEVNULL, stderr=other,
                          stdout=subprocess.DEVNULL)
        os.close(other)
        self.thread = threading.Thread(target=self._relay, daemon=True)
        self.thread.start()
        if not self.event.wait(10) or self.proc.poll() is not None:
            self.thread.join(2)
            raise Failed(f"{argv[0]} did not start capturing\n{self.said.decode(errors='replace')}")

    def _relay(self):
        while True:
            try:
                got = os.read(self.fd, 65536)
            except OSError:    # a terminal whose other end is closed
                got = b""
            if not got:
                break
            self.said += got
            if self.show:
                sys.stderr.buffer.write(got)
                sys.stderr.flush()
            if READY.search(self.said):
                self.event.set()
        self.event.set()

    def stop(self):
        self.proc.send_signal(signal.SIGINT)
        code = self.proc.wait(20)
        self.thread.join(5)
        return code


def say(text=""):
    print(text, flush=True)


def reference_is_complete(reference):
    """Nobody's traffic until tcpdump's file has it: then all before it is there as well."""
    before, deadline = os.path.getsize(reference), time.monotonic() + 20
    while time.monotonic() < deadline:
        talk(APP_NS, "filler").wait()
        with open(reference, "rb") as f:
            f.seek(before)
            if b"SENTINEL" in f.read():
                return
    raise Failed("the reference capture never reached its file")


def capture():
    """Both programs at once; returns the reference and the window of time to be judged."""
    reference = os.path.join(FOLDER, "reference.pcap")
    server = talk(SRV_NS, "server", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdout.readline()
    witness = Watched("tcpdump", "-i", "veth0", "-nn", "-B", "65536", "--nano", "-Z", "root", "-w",
                      reference, show=False)
    apptap = os.path.join(BUILD, "apptap")
    say(f"{DIM}$ apptap --uid {truth.APP_UID} --local -o {OUTPUT}{PLAIN}")
    tap = Watched(apptap, "--uid", str(truth.APP_UID), "--local", "-o", OUTPUT, show=True)
    begin = time.time()
    clients = [talk(APP_NS, "client", str(uid), str(ports[0]), str(SECONDS)) for uid, ports in
               ((truth.APP_UID, truth.APP_PORTS), (truth.BYSTANDER_UID, truth.BYSTANDER_PORTS))]
    if any([c.wait() for c in clients]):
        raise Failed("a program of the demo failed")
    end = time.time()
    if tap.stop():
        raise Failed("apptap did not end well")
    reference_is_complete(reference)
    witness.stop()
    lost = re.search(rb"(\d+) packets? dropped by kernel", witness.said)
    if not lost or int(lost[1]):
        raise Failed("the reference capture is not complete: the machine is too busy for a proof")
    return reference, begin, end


def prove(reference, begin, end):
    ours = truth.to_pcap(OUTPUT, os.path.join(FOLDER, "ours.pcap"), "tcpdump")
    report = truth.compare([reference], ours, begin, end)
    total = report.total
    good = total.expected and total.bystander and total.got == total.expected
    good = good and not total.leaked and not total.extra
    colour = GREEN if good else RED
    say()
    say(f"{BOLD}The proof{PLAIN}: tcpdump recorded everything beside AppTap; "
        "a packet's port tells whose it is.")
    say(f"  packets of the app      tcpdump {total.expected:>6,}   in {OUTPUT} "
        f"{colour}{total.got:>6,}{PLAIN}   missing {total.expected - total.got}")
    say(f"  packets of the other    tcpdump {total.bystander:>6,}   in {OUTPUT} "
        f"{colour}{len(total.leaked):>6,}{PLAIN}")
    if not good:
        say(report.complain())
        raise Failed("the proof does not hold")
    say(f"{GREEN}{total.got:,} of {total.expected:,} packets of the app, "
        f"0 of the other program.{PLAIN}")
    say()
    say(f"Open it: wireshark {OUTPUT}    or: tshark -r {OUTPUT}")


def main():
    say(f"{BOLD}Two programs, UID {truth.APP_UID} and UID {truth.BYSTANDER_UID}, talk to the same "
        f"server at the same time{PLAIN}")
    say("over TCP, UDP and DNS, IPv4 and IPv6. AppTap captures the first one.")
    say()
    try:
        prove(*capture())
    except (Failed, ValueError, OSError) as e:
        say(f"{RED}demo: {e}{PLAIN}")
        return 1
    finally:
        for p in running:
            if p.poll() is None:
                p.kill()
                p.wait()
    return 0


sys.exit(main())
