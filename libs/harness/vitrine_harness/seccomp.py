"""The system call filter of tenants: what no model needs and what widens the kernel's attack surface.

Everything not listed is allowed: models bring compiled code of every kind. Denied calls fail with EPERM
(or ENOSYS where the C library then takes another way); calls of a foreign architecture kill.
Source: seccomp(2), linux/bpf_common.h, linux/audit.h; call numbers from the kernel's tables.
"""

from __future__ import annotations

import errno
import struct

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_BITS, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24
"""Offsets in `struct seccomp_data`; arguments are little endian, so these are their low words."""

NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
SOCKET_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. AF_VSOCK, which reaches the hypervisor, knows no namespaces."""
TERMINAL_REQUESTS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into a terminal."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

# name: (x86_64, aarch64); None where the architecture has no such call
CALLS: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262),
    "personality": (135, 92),
}
CLONE = (56, 220)
CLONE3 = (435, 435)
SOCKET = (41, 198)
IOCTL = (16, 29)


PIDFD_OPEN = (434, 434)


def tenant_filter(machine: str) -> bytes | None:
    """Return the filter as an array of `struct sock_filter`; None for an architecture without a table."""
    return _filter(machine, CALLS)


def zygote_filter(machine: str) -> bytes | None:
    """Return the filter of a zygote, like `tenant_filter`.

    Its forks enter namespaces by the descriptors that they are handed (setns), and no other way: none can be
    had by a process id (pidfd_open).
    """
    calls = {name: pair for name, pair in CALLS.items() if name != "setns"}
    return _filter(machine, {**calls, "pidfd_open": PIDFD_OPEN})


def _filter(machine: str, calls: dict[str, tuple[int | None, int | None]]) -> bytes | None:
    if machine not in ARCHITECTURES:
        return None
    column = list(ARCHITECTURES).index(machine)
    program = [
        _load(ARCHITECTURE),
        _jump(JUMP_EQUAL, ARCHITECTURES[machine], 1, 0),
        _return(KILL),
        _load(NUMBER),
    ]
    if machine == "x86_64":
        program += [_jump(JUMP_AT_LEAST, X32_BIT, 0, 1), _return(KILL)]
    for pair in calls.values():
        number = pair[column]
        if number is not None:
            program += [_jump(JUMP_EQUAL, number, 0, 1), _return(ERRNO | errno.EPERM)]
    # clone3's flags lie in memory, out of a filter's reach: the C library falls back to clone.
    program += [_jump(JUMP_EQUAL, CLONE3[column], 0, 1), _return(ERRNO | errno.ENOSYS)]
    program += _when(
        CLONE[column],
        [
            _load(FIRST_ARGUMENT),
            _jump(JUMP_BITS, NEW_NAMESPACES, 0, 1),
            _return(ERRNO | errno.EPERM),
            _return(ALLOW),
        ],
    )
    program += _when(SOCKET[column], _only(FIRST_ARGUMENT, SOCKET_FAMILIES, errno.EAFNOSUPPORT))
    program += _when(IOCTL[column], _none_of(SECOND_ARGUMENT, TERMINAL_REQUESTS))
    program.append(_return(ALLOW))
    return b"".join(program)


def _when(number: int, body: list[bytes]) -> list[bytes]:
    return [_jump(JUMP_EQUAL, number, 0, len(body)), *body]


def _only(argument: int, values: tuple[int, ...], code: int) -> list[bytes]:
    body = [_load(argument)]
    for value in values:
        body += [_jump(JUMP_EQUAL, value, 0, 1), _return(ALLOW)]
    return [*body, _return(ERRNO | code)]


def _none_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    body = [_load(argument)]
    for value in values:
        body += [_jump(JUMP_EQUAL, value, 0, 1), _return(ERRNO | errno.EPERM)]
    return [*body, _return(ALLOW)]


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", LOAD_WORD, 0, 0, offset)


def _jump(code: int, value: int, when_true: int, when_false: int) -> bytes:
    return struct.pack("HBBI", code, when_true, when_false, value)


def _return(value: int) -> bytes:
    return struct.pack("HBBI", RETURN, 0, 0, value)
