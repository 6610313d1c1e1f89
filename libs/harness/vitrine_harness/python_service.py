"""Serves the `python` that programs find on their path: forks of the warm interpreter instead of new ones.

The shim (`shims/forking/python`) connects and sends one packet, `{"argv": […], "cwd": …, "env": {…}}` with
its three standard descriptors. Answers are packets of plain text, which a shim reads without importing
anything: `refused`, after which it becomes the real interpreter, or `started` and later `exited N`, N
negative for a signal. In between it may send `signal N`. A shim that disappears takes its program along.

Whoever connects is the tenant. Nothing that it sends is trusted, and nothing that it does may block.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket

from vitrine_harness import command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Child(Protocol):
        """A program that was begun."""

        @property
        def status(self) -> int:
            """A descriptor from which its wait status can be read at its end: four bytes, little-endian."""

        def kill(self, number: int) -> None:
            """Send it a signal; nothing where it has ended."""

        def close(self) -> None:
            """Let go of it, all but its status."""

    Begin = Callable[[command_line.PythonCall, str, dict[str, str], tuple[int, int, int]], Child | None]


REQUEST_BYTES = 256 * 1024
MOST = 64
"""Programs at a time; what is more is refused, and really spawned."""
_REFUSED, _STARTED = b"refused", b"started"


class PythonService:
    """Listens at `path`; whoever owns `selector` calls the data of each key that is ready.

    `begin` gets command line, directory, environment and the three descriptors, which stay the caller's,
    and returns the program, or None where there is no fork to be had.
    """

    def __init__(
        self,
        path: str,
        selector: selectors.BaseSelector,
        begin: Begin,
        programs: str = command_line.PROGRAMS,
    ) -> None:
        self.selector = selector
        self._begin = begin
        self._programs = programs
        self._open: set[_Connection] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        self._listener.listen(MOST)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Stop serving; programs that run are killed."""
        self.selector.unregister(self._listener)
        self._listener.close()
        for connection in list(self._open):
            connection.close()

    def begin(
        self, argv: list[str], directory: str, env: dict[str, str], streams: tuple[int, int, int]
    ) -> Child | None:
        """Begin a program where a fork would be faithful and is to be had."""
        call = command_line.parse(argv, env, self._programs)
        return None if call is None else self._begin(call, directory, env, streams)

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that has closed."""
        self._open.discard(connection)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._open) >= MOST:
            sock.close()
            return
        self._open.add(_Connection(sock, self))


class _Connection:
    """One shim and its program."""

    def __init__(self, sock: socket.socket, service: PythonService) -> None:
        self._socket = sock
        self._service = service
        self._selector = service.selector
        self._child: Child | None = None
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, self._receive)

    def close(self) -> None:
        """Hang up, and end the program if it still runs."""
        if self._child is not None:
            self._child.kill(signal.SIGKILL)
            self._let_go(self._child)
        self._selector.unregister(self._socket)
        self._socket.close()
        self._service.forget(self)

    def _receive(self) -> None:
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._socket, REQUEST_BYTES, 3)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        try:
            if not data:
                self.close()
            elif self._child is not None:
                self._signal(data)
            elif flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or not self._start(data, descriptors):
                self._answer(_REFUSED)
                self.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, data: bytes, descriptors: list[int]) -> bool:
        request = _read(data)
        if request is None or len(descriptors) != 3:
            return False
        argv, directory, env = request
        stdin, stdout, stderr = descriptors
        child = self._service.begin(argv, directory, env, (stdin, stdout, stderr))
        if child is None:
            return False
        self._child = child
        self._selector.register(child.status, selectors.EVENT_READ, self._finish)
        self._answer(_STARTED)
        return True

    def _signal(self, data: bytes) -> None:
        word, _, number = data.partition(b" ")
        if self._child is not None and word == b"signal" and number.isdigit() and len(number) < 3:
            self._child.kill(int(number))

    def _finish(self) -> None:
        assert self._child is not None
        told = os.read(self._child.status, 4)
        # Whoever waits for a forked program says nothing only if it was killed itself.
        status = int.from_bytes(told, "little") if len(told) == 4 else int(signal.SIGKILL)
        self._let_go(self._child)
        self._answer(b"exited %d" % os.waitstatus_to_exitcode(status))
        self.close()

    def _let_go(self, child: Child) -> None:
        self._selector.unregister(child.status)
        os.close(child.status)
        child.close()
        self._child = None

    def _answer(self, text: bytes) -> None:
        # A shim that does not read what it asked for gets nothing more.
        with contextlib.suppress(OSError):
            self._socket.send(text)


def _read(data: bytes) -> tuple[list[str], str, dict[str, str]] | None:
    """Return argv, directory and environment of a request; None where it is not one."""
    try:
        message = json.loads(data)
        argv, directory, env = message["argv"], message["cwd"], message["env"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = (
        [directory, *argv, *env, *env.values()] if isinstance(env, dict) and isinstance(argv, list) else []
    )
    if not argv or not all(isinstance(text, str) and "\0" not in text for text in texts):
        return None
    return argv, directory, env
