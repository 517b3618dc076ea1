#!/usr/bin/python3
"""tcx.py IFACE PLACE VERDICT.. - a stranger's tcx programs: count IPv4 UDP, answer VERDICT to it

Attached at both sides of the interface, in the network namespace that this runs in; PLACE is "first"
or "last" in their rows. Each line on stdin is answered by "IN OUT", what they have counted, and the
end of stdin detaches them. VERDICT is what they return on the way in and, if given twice, on the way
out; what is not IPv4 UDP gets TCX_NEXT. "redirect:N" sends it to the interface with that index.
"""
import ctypes
import os
import socket
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
SYSCALL = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, MAP_LOOKUP, PROG_LOAD, LINK_CREATE = 0, 1, 5, 28
ARRAY, SCHED_CLS = 2, 3	# kinds of map and program
INGRESS, EGRESS = 46, 47
BEFORE, AFTER = 1 << 3, 1 << 4
VERDICTS = {"next": -1, "ok": 0, "shot": 2, "redirect": 7}
REDIRECT = 23	# the helper


def bpf(cmd, form, *values):
    attr = struct.pack(form, *values).ljust(128, b"\0")
    buf = ctypes.create_string_buffer(attr, len(attr))
    r = LIBC.syscall(SYSCALL, cmd, buf, len(attr))
    if r < 0:
        raise OSError(ctypes.get_errno(), f"bpf({cmd}): {os.strerror(ctypes.get_errno())}")
    return r


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", code, dst | src << 4, off, imm)


def program(map_fd, verdict):
    """Ethernet, IPv4, UDP: counted, and what was asked for; all else passes."""
    kind, _, ifindex = verdict.partition(":")
    if ifindex:
        answer = insn(0xb7, 1, imm=int(ifindex)) + insn(0xb7, 2) + insn(0x85, imm=REDIRECT)
    else:
        answer = insn(0xb7, 0, imm=VERDICTS[kind]) + insn(0x05) * 2	# as long
    code = b"".join([
        insn(0xbf, 6, 1),			# r6 = the packet
        insn(0x28, imm=12), insn(0x55, off=10, imm=0x0800),	# its EtherType, not IPv4?
        insn(0x30, imm=23), insn(0x55, off=8, imm=17),		# its protocol, not UDP?
        insn(0x18, 1, 2, imm=map_fd), insn(0),		# r1 = the counter
        insn(0xb7, 2, imm=1), insn(0xdb, 1, 2),		# one more
        answer, insn(0x95),
        insn(0xb7, 0, imm=-1), insn(0x95)])
    return code


def nothing():
    """Lets the next in the row have its say, and that is all."""
    return load(insn(0xb7, 0, imm=-1) + insn(0x95))


def load(code):
    text = ctypes.create_string_buffer(code, len(code))
    name = ctypes.create_string_buffer(b"GPL")
    return bpf(PROG_LOAD, "=IIQQ", SCHED_CLS, len(code) // 8, ctypes.addressof(text),
               ctypes.addressof(name))


def attach(prog, ifindex, side, first=True):
    return bpf(LINK_CREATE, "=IIII", prog, ifindex, side, BEFORE if first else AFTER)


class Counter:
    def __init__(self, ifindex, side, first, verdict):
        self.map = bpf(MAP_CREATE, "=IIII", ARRAY, 4, 8, 1)
        self.prog = load(program(self.map, verdict))
        self.link = attach(self.prog, ifindex, side, first)

    def read(self):
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(8)
        bpf(MAP_LOOKUP, "=IIQQ", self.map, 0, ctypes.addressof(key), ctypes.addressof(value))
        return struct.unpack("=Q", value)[0]


def main(name, place, *verdicts):
    ifindex = socket.if_nametoindex(name)
    both = [Counter(ifindex, side, place == "first", verdict)
            for side, verdict in ((INGRESS, verdicts[0]), (EGRESS, verdicts[-1]))]
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*(c.read() for c in both), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
