"""A system call filter under which a root of one user only can install packages.

Packages give files to users that a namespace with one user does not know, and become such users while they
are installed. Nothing of it matters in a tree that is only ever read, so these calls, and those that wait for
the disk, do nothing and say that they did. Calls that only widen what a script can try on the kernel fail
with EPERM; others are allowed.
Source: seccomp(2), linux/bpf_common.h, linux/audit.h; call numbers from the kernel's tables.
"""

from __future__ import annotations

import errno
import struct

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_BITS, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_NEW_NAMESPACES = 0x7E020000
_FORMAT, _CHARACTER, _BLOCK = 0xF000, 0x2000, 0x6000
"""The file type in a mode (S_IFMT), and those of devices."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86_64, aarch64); None where the architecture has no such call
_PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
    # A draft that a power cut interrupts is thrown away: waiting for the disk after each file is for nothing.
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "sync_file_range": (277, 84),
}
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "syslog": (103, 116),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_MKNOD, _MKNODAT = (133, None), (259, 33)
_FIRST_ARGUMENT, _SECOND_ARGUMENT, _THIRD_ARGUMENT = 16, 24, 32
"""Offsets in `struct seccomp_data`; arguments are little endian, so these are their low words."""


def install_filter(machine: str) -> bytes | None:
    """Return the filter as an array of `struct sock_filter`; None for an architecture without a table."""
    if machine not in _ARCHITECTURES:
        return None
    column = list(_ARCHITECTURES).index(machine)
    program = [
        _load(_ARCHITECTURE),
        _jump(_JUMP_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _return(_KILL),
        _load(_NUMBER),
    ]
    for pairs, answer in ((_PRETENDED, _ERRNO), (_REFUSED, _ERRNO | errno.EPERM)):
        for pair in pairs.values():
            program += _when(pair[column], [_return(answer)])
    # clone3's flags lie in memory, out of a filter's reach: the C library falls back to clone.
    program += _when(_CLONE3[column], [_return(_ERRNO | errno.ENOSYS)])
    program += _when(
        _CLONE[column],
        [
            _load(_FIRST_ARGUMENT),
            _jump(_JUMP_BITS, _NEW_NAMESPACES, 0, 1),
            _return(_ERRNO | errno.EPERM),
            _return(_ALLOW),
        ],
    )
    program += _when(_MKNOD[column], _no_devices(_SECOND_ARGUMENT))
    program += _when(_MKNODAT[column], _no_devices(_THIRD_ARGUMENT))
    program.append(_return(_ALLOW))
    return b"".join(program)


def _when(number: int | None, body: list[bytes]) -> list[bytes]:
    return [] if number is None else [_jump(_JUMP_EQUAL, number, 0, len(body)), *body]


def _no_devices(mode: int) -> list[bytes]:
    return [
        _load(mode),
        struct.pack("HBBI", _AND, 0, 0, _FORMAT),
        _jump(_JUMP_EQUAL, _CHARACTER, 1, 0),
        _jump(_JUMP_EQUAL, _BLOCK, 0, 1),
        _return(_ERRNO),
        _return(_ALLOW),
    ]


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", _LOAD_WORD, 0, 0, offset)


def _jump(code: int, value: int, when_true: int, when_false: int) -> bytes:
    return struct.pack("HBBI", code, when_true, when_false, value)


def _return(value: int) -> bytes:
    return struct.pack("HBBI", _RETURN, 0, 0, value)
