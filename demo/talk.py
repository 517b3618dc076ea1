"""talk.py - the programs of the demo: a server, and clients that differ in nothing but their UID

usage: talk.py server | talk.py client UID FIRST_PORT SECONDS | talk.py filler

A client takes its local ports from FIRST_PORT on: that is how the proof, which trusts no tool, can
tell whose a packet is. "filler" is nobody's traffic; it pushes tcpdump's buffer to its file.
"""
import itertools
import os
import selectors
import socket
import struct
import sys
import time

WEB, DNS, MEDIA = 8080, 53, 4433
SERVERS = ((socket.AF_INET, "10.77.0.2"), (socket.AF_INET6, "fd77::2"))
PAGE = b"HTTP/1.0 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20000


def dns_question(number, name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", number & 0xffff, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def dns_answer(question):
    record = struct.pack("!HHHIH4s", 0xc00c, 1, 1, 60, 4, socket.inet_aton("10.77.0.2"))
    return question[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + question[12:] + record


def serve():
    watch = selectors.DefaultSelector()
    for family, address in SERVERS:
        for kind, port in ((socket.SOCK_STREAM, WEB), (socket.SOCK_DGRAM, DNS),
                           (socket.SOCK_DGRAM, MEDIA)):
            s = socket.socket(family, kind)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
            if kind == socket.SOCK_STREAM:
                s.listen(64)
            watch.register(s, selectors.EVENT_READ, port)
    watch.register(sys.stdin, selectors.EVENT_READ, None)
    print("ready", flush=True)
    while True:
        for key, _ in watch.select():
            if key.data is None:
                return
            if key.data == WEB:
                connection, _ = key.fileobj.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(PAGE)
            else:
                data, peer = key.fileobj.recvfrom(4096)
                key.fileobj.sendto(dns_answer(data) if key.data == DNS else data, peer)


def talk(first_port, seconds):
    ports = itertools.count(first_port)

    def dial(family, address, kind, port):
        s = socket.socket(family, kind)
        s.settimeout(2)
        s.bind(("", next(ports)))
        s.connect((address, port))
        return s

    def open_page(number, family, address):
        with dial(family, address, socket.SOCK_DGRAM, DNS) as s:
            s.send(dns_question(number, f"host{number}.example.org"))
            s.recv(4096)
        with dial(family, address, socket.SOCK_STREAM, WEB) as s:
            s.send(b"GET / HTTP/1.0\r\n\r\n")
            while s.recv(65536):
                pass

    end = time.monotonic() + seconds
    with dial(*SERVERS[0], socket.SOCK_DGRAM, MEDIA) as call:
        for tick in itertools.count():
            if time.monotonic() > end:
                break
            call.send(b"a frame of sound" * 20)
            call.recv(4096)
            if tick % 25 == 0:
                open_page(tick // 25, *SERVERS[tick // 25 % 2])
            time.sleep(0.02)


def fill():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("10.77.0.1", 45000))
        for _ in range(1000):
            s.sendto(b"SENTINEL" * 175, ("10.77.0.2", MEDIA))


def main():
    if sys.argv[1] == "server":
        serve()
    elif sys.argv[1] == "filler":
        fill()
    else:
        uid, first_port, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        talk(first_port, seconds)


main()
