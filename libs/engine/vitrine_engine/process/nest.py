"""A nest: one launcher, one supervisor inside, and the cells that it makes; with a zygote, or without.

A nest shows one environment. A *private* one belongs to a single sandbox, whose bundle it shows; a *shared*
one serves all versions of one owner in that environment, and only it has a zygote.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any

from vitrine_engine.process.cgroups import Group
from vitrine_engine.process.meter import descendants
from vitrine_engine.protocol import StartError
from vitrine_engine.serving import check_greeting
from vitrine_harness.boot import CONTROL_BYTES

START_SECONDS = 30.0
KILL_SECONDS = 5.0
ANSWER_SECONDS = 10.0
STDERR_BYTES = 4096
REMOVE_ROUNDS = 500
_log = logging.getLogger(__name__)


class NestGoneError(Exception):
    """The nest has ended, or does not answer."""


class Nest:
    """A running nest. `on_gone` is called once nothing of it is left."""

    def __init__(
        self,
        name: str,
        *,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        group: Group,
        on_gone: Callable[[Nest], None],
        is_shared: bool,
    ) -> None:
        self.name = name
        self.is_shared = is_shared
        self.shows_overlay = False
        """Whether runs can have the bundle as an overlay, not a copy."""
        self.exited = asyncio.Event()
        self.gone = asyncio.Event()
        self._process = process
        self._control = control
        self._group = group
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._ended: dict[str, asyncio.Event] = {}
        self._answers: dict[str, list[asyncio.Future[dict[str, Any]]]] = {}
        self._stderr = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._watch()

    @property
    def pid(self) -> int:
        """The launcher's process, which lives as long as the nest."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether cells can be made."""
        return not self.exited.is_set()

    async def connect(self, setup: dict[str, Any]) -> None:
        """Hand the supervisor its setup and wait until it is ready; raises `StartError`."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._loop.sock_sendall(self._control, json.dumps(setup).encode())
                answer = await self._loop.sock_recv(self._control, CONTROL_BYTES)
            check_greeting(answer)
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            await asyncio.sleep(0.05)
            said = self._stderr.decode(errors="replace").strip() or str(error) or "it did not answer"
            await self.stop()
            raise StartError(f"the sandbox could not be started: {said[-1000:]}") from error
        self.shows_overlay = json.loads(answer).get("overlay") is True
        self._reading = self._background(self._read_control())

    async def tell(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Send a control message; raises `OSError` when the nest has gone."""
        data = json.dumps(message).encode()
        while True:
            try:
                socket.send_fds(self._control, [data], descriptors or [])
            except BlockingIOError:
                await asyncio.sleep(0.001)
            else:
                return

    async def ask(self, question: str) -> dict[str, Any]:
        """Return the supervisor's answer to a question without arguments; raises `NestGoneError`."""
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._answers.setdefault(question, []).append(answer)
        try:
            await self.tell({"do": question})
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except (OSError, TimeoutError) as error:
            raise NestGoneError(f"the supervisor of {self.name} does not answer") from error

    def expect(self, cell: str) -> None:
        """Note that a cell begins, whose end will be waited for."""
        self._ended[cell] = asyncio.Event()

    def forget(self, cell: str) -> None:
        """Note that nobody waits for a cell any more."""
        self._ended.pop(cell, None)

    def has_ended(self, cell: str) -> bool:
        """Whether nothing of a cell is left."""
        ended = self._ended.get(cell)
        return ended is None or ended.is_set()

    async def wait_ended(self, cell: str) -> None:
        """Return when nothing of a cell is left, or the nest is gone."""
        ended = self._ended.get(cell)
        if ended is not None and not self.exited.is_set():
            await ended.wait()

    async def kill(self, cell: str) -> None:
        """Kill a cell, with the nest where there is no other way, and wait until it is gone."""
        with contextlib.suppress(OSError, TimeoutError):
            await self.tell({"do": "kill", "id": cell})
            async with asyncio.timeout(KILL_SECONDS):
                await self.wait_ended(cell)
            return
        await self.destroy()

    async def stop(self) -> None:
        """Kill everything and leave nothing behind. Idempotent."""
        await self.destroy()
        await self.gone.wait()

    async def destroy(self) -> None:
        """Kill the nest and wait until it is dead."""
        if not self.exited.is_set():
            # The inner init first: its death takes all others along, and only then the launcher ends.
            inner = descendants(self._process.pid)[1:2]
            for pid in inner:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS if inner else 0):
                    await self.exited.wait()
            self._process.kill()
            self._group.kill()
        await self.exited.wait()

    # watching

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _watch(self) -> None:
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        self._loop.add_reader(self._process.stderr.fileno(), self._on_stderr)

    def _on_stderr(self) -> None:
        assert self._process.stderr is not None
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._process.stderr.fileno(), STDERR_BYTES)
        self._stderr = (self._stderr + data)[-STDERR_BYTES:]
        if not data:
            self._loop.remove_reader(self._process.stderr.fileno())

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self.exited.set()
        for ended in self._ended.values():
            ended.set()
        for answer in (answer for answers in self._answers.values() for answer in answers):
            if not answer.done():
                # Not cancelled: that would look as if somebody had cancelled who asks.
                answer.set_exception(NestGoneError(f"{self.name} has ended"))
        self._background(self._clean_up())

    async def _clean_up(self) -> None:
        """Free what the host holds for the nest; control groups once the last process has left them."""
        assert self._process.stderr is not None
        self._loop.remove_reader(self._process.stderr.fileno())
        with contextlib.suppress(OSError):
            self._on_stderr()
        self._loop.remove_reader(self._process.stderr.fileno())
        self._process.stderr.close()
        if self._stderr:
            _log.warning("%s said: %s", self.name, self._stderr.decode(errors="replace").strip())
        await remove(self._group)
        if self._reading is not None:
            # The loop must forget the descriptor before it is closed: its number is soon another nest's,
            # whose messages would then never be heard.
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._control.close()
        self._on_gone(self)
        self.gone.set()

    async def _read_control(self) -> None:
        """Note ended cells and answers; anything else, and the end of the stream, is the end of the nest."""
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(self._control, CONTROL_BYTES):
                try:
                    self._hear(json.loads(data))
                except (ValueError, KeyError, TypeError, IndexError, RecursionError):
                    break
        await self.destroy()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["is"] == "ended":
            ended = self._ended.get(message["id"])
            if ended is not None:
                ended.set()
            return
        answer = self._answers[message["is"]].pop(0)
        if not answer.done():
            answer.set_result(message)


async def remove(group: Group) -> None:
    """Kill what is left in control groups and remove them."""
    group.kill()
    for _ in range(REMOVE_ROUNDS):
        if group.remove():
            return
        await asyncio.sleep(0.01)
