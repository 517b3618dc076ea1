"""family.py BASE UID - a process whose descendants use the network in every way that is hard to follow

Every socket has a port of its own above BASE, which says whose it is. What is older than "go" was
there before the capture. Prints "here", "go" comes in, then the ports that it listens at, then "done".
"""
import ctypes
import os
import socket
import subprocess
import sys
import threading
import time

FAR, ECHO = "10.77.0.2", 7001
OLD_UDP, OLD_TCP, LISTENS, GENERATIONS, THREADS, SHORT = 0, 1, (2, 3), 10, 60, 100
BY_EXEC = ("import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); "
           "[s.sendto(b'by exec', ('10.77.0.2', 7001)) for _ in range(5)]")


def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.77.0.1", BASE + port))
    s.settimeout(10)
    return s


def ask(s, count=5):
    """As many answers come as questions went."""
    for _ in range(count):
        s.sendto(b"question", (FAR, ECHO))
        s.recv(100)


def listen(port):
    return socket.create_server(("10.77.0.1", BASE + port), backlog=50)


def child(work, *args):
    """Forks; the child does its work and ends."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work(*args)
        os._exit(0)
    finally:
        os._exit(1)


def wait(*pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0


def generations(port, depth):
    """Each asks from a socket of its own, while its parent has ended; the last closes the pipe."""
    if depth and os.fork():
        os._exit(0)
    ask(udp(port + depth))
    if depth:
        generations(port, depth - 1)


def serve(s, plainly):
    """Takes a connection, with the peer's address or without one, and sends back what comes."""
    if plainly:
        fd = ctypes.CDLL(None).accept(s.fileno(), None, None)
        c = socket.socket(fileno=fd)
    else:
        c = s.accept()[0]
    with c:
        while data := c.recv(100):
            c.sendall(data)


def leaderless():
    """The first thread ends, another goes on and makes sockets."""
    def rest():
        time.sleep(0.02)	# the first has ended by then
        for i in range(5):
            ask(udp(THREADS + i), 2)
        os._exit(0)
    threading.Thread(target=rest).start()
    ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)


def at_once(port):
    """A life of some hundred microseconds."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.77.0.1", BASE + port))
    s.sendto(b"at once", (FAR, 7002))


def when_told(pipe, port):
    os.read(pipe, 1)
    ask(udp(port))


def main():
    old, servers = udp(OLD_UDP), [listen(LISTENS[0])]
    stream = socket.create_connection((FAR, ECHO), source_address=("10.77.0.1", BASE + OLD_TCP))
    told, tell = os.pipe()
    older = child(lambda: wait(child(when_told, told, GENERATIONS + 30)))	# and one below it
    print("here", flush=True)
    sys.stdin.readline()
    servers.append(listen(LISTENS[1]))
    print("listening", flush=True)
    ask(old)
    wait(child(ask, old))	# the same socket, inherited
    os.set_inheritable(old.fileno(), True)
    subprocess.run([sys.executable, "-c", BY_EXEC, str(old.fileno())], close_fds=False, check=True)
    for _ in range(5):
        old.recv(100)
        stream.sendall(b"question")
        stream.recv(100)
    stream.close()
    os.write(tell, b"x")
    end, ends = os.pipe()
    wait(child(generations, GENERATIONS, 4))
    os.close(ends)
    takers = [child(serve, s, plainly) for s in servers for plainly in (False, True)]
    for i in range(100):
        wait(child(at_once, SHORT + i))
    wait(child(leaderless), older, *takers)
    os.read(end, 1)	# the last generation has ended
    print("done", flush=True)
    sys.stdin.readline()


BASE = int(sys.argv[1])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
main()
