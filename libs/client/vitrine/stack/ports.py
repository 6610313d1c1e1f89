"""TCP ports of the stack's parts."""

from __future__ import annotations

import errno
import random
import socket

from vitrine.stack.errors import StackError

# Below the ephemeral range of Linux and macOS, so that an outgoing connection never takes a chosen port.
_FIRST, _LAST = 20_000, 32_000
_ATTEMPTS = 200


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `port` of `host` now."""
    return _bind_fault(host, port) is None


def require_free(host: str, port: int) -> None:
    """Raise StackError, with the reason and the way out, unless `port` can be listened on."""
    fault = _bind_fault(host, port)
    if fault is not None:
        raise StackError(f"Port {port} on {host} {fault}; choose another one with --port.")


def free_port(host: str, *, preferred: int | None = None) -> int:
    """Return a port that is free on `host`: `preferred` when it is, else a random one."""
    if preferred is not None and is_free(host, preferred):
        return preferred
    chooser = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = chooser.randrange(_FIRST, _LAST)
        if is_free(host, port):
            return port
    raise StackError(f"No free port was found on {host} between {_FIRST} and {_LAST}.")


def _bind_fault(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use"
            return f"cannot be listened on ({error.strerror})"
    return None
