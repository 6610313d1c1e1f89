"""Linux system calls that Python does not offer: mounts, namespaces, capabilities.

Sources: mount(2), unshare(2), capabilities(7), prctl(2), mount_setattr(2), netdevice(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 1 << 14, 1 << 18
MNT_DETACH = 2

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 28, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECUREBITS_ALL_LOCKED = 0xEF
"""NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE and the locks of all four."""

CAPABILITY_VERSION_3 = 0x20080522
MOUNT_ATTR_IDMAP = 0x00100000
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, MOVE_MOUNT_F_EMPTY_PATH = 1, 0o2000000, 4
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442
"""The same on every architecture: calls added since Linux 5.1 share their numbers."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount; raises `OSError`."""
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            options.encode() if options else None,
        ),
        f"mount {kind or ''} on {target}",
    )


def detach(target: str) -> None:
    """Unmount lazily."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def unshare(flags: int) -> None:
    """Leave shared namespaces; raises `OSError`."""
    _check(_libc.unshare(flags), "unshare")


def prctl(option: int, value: int, third: int = 0) -> int:
    """Change a property of this process and return the result; raises `OSError`."""
    arguments = [ctypes.c_ulong(item) for item in (value, third, 0, 0)]
    return _check(int(_libc.prctl(option, *arguments)), f"prctl {option}")


def die_with_parent() -> None:
    """Ask for SIGKILL when the parent dies. Changing credentials clears this: call it again after."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def hide() -> None:
    """Keep processes of the same user from looking into this one (memory, descriptors, tracing)."""
    prctl(PR_SET_DUMPABLE, 0)


def drop_privileges() -> None:
    """Give up every capability for good: bounding, ambient, permitted; no new privileges by exec."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break
    prctl(PR_SET_SECUREBITS, SECUREBITS_ALL_LOCKED)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


def require_no_privileges() -> None:
    """Check that this process has no capability and can get none; raises `OSError` naming what it has."""
    with open("/proc/self/status") as stream:
        status = dict(line.rstrip().split(":\t", 1) for line in stream if ":\t" in line)
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
    if held or status["NoNewPrivs"] != "1" or os.getuid() == 0:
        raise OSError(f"this process may still gain privileges: {', '.join(held) or 'new ones, or root'}")


def become(uid: int, gid: int) -> None:
    """Change to another user of the host for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # The kernel hides a process that changed its user; its own id maps must stay writable.
    prctl(PR_SET_DUMPABLE, 1)


def enter_user_namespace(extra: int, inside: int) -> None:
    """Enter a new user namespace (and `extra` ones) in which this user is `inside`, with all capabilities."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | extra)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{inside} {uid} 1")
    write("/proc/self/gid_map", f"{inside} {gid} 1")


def remap_owner(path: str, owner: tuple[int, int], user: tuple[int, int]) -> None:
    """Show the mount at `path` with files of `owner` as files of `user` (an id-mapped mount, Linux ≥ 5.12).

    Raises `OSError` where kernel or file system cannot. Needs the capabilities of the host's root.
    """
    tree = _check(
        _libc.syscall(
            SYS_OPEN_TREE, AT_FDCWD, path.encode(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
        ),
        f"open_tree {path}",
    )
    namespace = -1
    try:
        namespace = _mapping(owner, user)
        attributes = _MountAttributes(MOUNT_ATTR_IDMAP, 0, 0, namespace)
        arguments = (tree, b"", AT_EMPTY_PATH | AT_RECURSIVE, ctypes.byref(attributes))
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        _check(_libc.syscall(SYS_MOUNT_SETATTR, *arguments, size), f"id-map {path}")
        moved = _libc.syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, path.encode(), MOVE_MOUNT_F_EMPTY_PATH)
        _check(moved, f"move_mount {path}")
    finally:
        os.close(tree)
        if namespace >= 0:
            os.close(namespace)


def _mapping(owner: tuple[int, int], user: tuple[int, int]) -> int:
    """Return a descriptor of a user namespace that maps `owner` to `user`."""
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(done[1])
            unshare(CLONE_NEWUSER)
            os.write(ready[1], b"1")
            os.read(done[0], 1)
            status = 0
        finally:
            os._exit(status)
    os.close(ready[1])
    try:
        if not os.read(ready[0], 1):
            raise OSError("no user namespace for an id map")
        write(f"/proc/{child}/uid_map", f"{owner[0]} {user[0]} 1")
        write(f"/proc/{child}/gid_map", f"{owner[1]} {user[1]} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for descriptor in (ready[0], *done):
            os.close(descriptor)
        os.waitpid(child, 0)


def enter(descriptor: int, kind: int) -> None:
    """Enter the namespace of `kind` behind a descriptor; raises `OSError`. Source: setns(2)."""
    _check(_libc.setns(descriptor, kind), f"setns {kind:#x}")


def show(source: str, target: str) -> None:
    """Show a directory at another place too, read-only; raises `OSError`."""
    mount(source, target, None, MS_BIND)
    mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def cover(target: str) -> None:
    """Hide what is below a directory behind an empty one; raises `OSError`."""
    mount("tmpfs", target, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0555")


def loopback_up() -> None:
    """Bring up `lo` in a new network namespace: many programs talk to themselves."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(sock, get_flags, request), 16)
        fcntl.ioctl(sock, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def install_filter(program: bytes) -> None:
    """Install a seccomp filter (an array of `struct sock_filter`) for this process and its children."""
    pr_set_seccomp, seccomp_mode_filter = 22, 2
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a 16 bit count, padding, a pointer
    fprog = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(fprog, len(fprog))
    prctl(pr_set_seccomp, seccomp_mode_filter, ctypes.addressof(holder))


def machine() -> str:
    """Return the architecture as the kernel names it."""
    return os.uname().machine


def write(path: str, text: str) -> None:
    """Write to a file of the kernel; raises `OSError`."""
    # Unbuffered: an error must be raised here, not swallowed when the file object is collected.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def close_descriptors(keep: set[int]) -> None:
    """Close everything but standard streams and `keep`."""
    edges = sorted({2, *keep})
    for low, high in zip(edges, [*edges[1:], 1 << 20], strict=True):
        os.closerange(low + 1, high)
