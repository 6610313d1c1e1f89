"""One container of a sandbox and the socket to its harness: it serves one run of a script, or one model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrine_engine import checks
from vitrine_engine.checks import ViolationError
from vitrine_engine.docker.container import SOCKET_NAME, Recipe, Share, host_files
from vitrine_engine.docker.daemon import Daemon, DaemonError
from vitrine_engine.docker.figures import Figures, local_group, local_process
from vitrine_engine.protocol import StartError, Usage
from vitrine_engine.serving import check_greeting
from vitrine_harness.boot import CONTROL_BYTES

START_SECONDS = 60.0
LOOK_SECONDS = 0.25
KILL_SECONDS = 5.0
SETTLE_SECONDS = 5.0


class Cell:
    """Implements `vitrine_engine.place.Host`. `directory` is its own on the host, with the control socket.

    `on_lost` is called when the sandbox cannot go on: the harness has gone though nobody ended it, or it
    cannot be trusted, or the only container of a loaded model was killed. `is_stopping` says whether the
    service wants the sandbox to end.
    """

    def __init__(
        self,
        name: str,
        *,
        daemon: Daemon,
        recipe: Recipe,
        limits: Share,
        directory: Path,
        on_lost: Callable[[Cell], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self.name = name
        self.meter = Figures(None)
        self.is_script = True
        self.is_broken = False
        """Whether the harness cannot be trusted any more."""
        self.container: str | None = None
        self.death: int | None = None
        self._daemon = daemon
        self._recipe = recipe
        self._limits = limits
        self._directory = directory
        self._on_lost = on_lost
        self._is_stopping = is_stopping
        self._killed = False
        self._loop = asyncio.get_running_loop()
        self._control: socket.socket | None = None
        self._process: int | None = None
        self._exited = asyncio.Event()
        self._settled = asyncio.Event()
        self._ended: dict[str, asyncio.Event] = {}
        self._reading: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the service has asked the sandbox to stop."""
        return self._is_stopping()

    async def start(self) -> None:
        """Make the container and wait until its harness is ready; raises `StartError`, leaving nothing."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._start()
        except BaseException as error:
            said = "" if self.container is None else await self._last_words()
            await self.discard()
            if isinstance(error, OSError | ValueError | KeyError | TimeoutError | DaemonError):
                text = said or str(error) or "its harness did not answer"
                raise StartError(
                    f"no container for sandbox {self._recipe.spec.id}: {text[-1000:]}"
                ) from error
            raise
        self._reading = self._loop.create_task(self._read_control())

    async def _start(self) -> None:
        with self._listen() as listener:
            config = self._recipe.config(self._directory, self._limits)
            container = await self._create(config)
            await self._daemon.start(container)
            self._control = await self._accept(listener, container)
        # One harness, one connection: what a tenant could connect to is gone before the first tenant comes.
        (self._directory / SOCKET_NAME).unlink()
        await self._loop.sock_sendall(self._control, json.dumps(self._recipe.setup()).encode())
        pid = int((await self._daemon.inspect(container))["State"]["Pid"])
        self.meter = Figures(local_group(container, pid))
        self._process = local_process(container, pid)
        check_greeting(await self._loop.sock_recv(self._control, CONTROL_BYTES))

    async def _create(self, config: dict[str, Any]) -> str:
        creating = self._loop.create_task(self._daemon.create(self.name, config))
        try:
            return await asyncio.shield(creating)
        finally:
            # Even when nobody wants it any more: what the daemon makes has to be removed.
            await asyncio.wait({creating})
            if creating.exception() is None:
                self.container = creating.result()

    def _listen(self) -> socket.socket:
        self._directory.mkdir(mode=0o755)
        self._directory.chmod(0o755)
        for name, text in host_files(self._recipe.uid).items():
            (self._directory / name).write_text(text)
            (self._directory / name).chmod(0o644)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        try:
            # By descriptor: the address of a Unix socket has at most 107 bytes, a directory's path more.
            listener.bind(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
            (self._directory / SOCKET_NAME).chmod(0o666)
            listener.listen(1)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        finally:
            os.close(descriptor)
        return listener

    async def _accept(self, listener: socket.socket, container: str) -> socket.socket:
        """Wait for the harness to connect; raises `OSError` when the container ends before."""
        accepting = asyncio.ensure_future(self._loop.sock_accept(listener))
        try:
            while not (await asyncio.wait({accepting}, timeout=LOOK_SECONDS))[0]:
                if not (await self._daemon.inspect(container))["State"]["Running"]:
                    raise OSError("the container ended at once")  # noqa: TRY301 - freed like on cancellation
        except BaseException:
            accepting.cancel()
            await asyncio.wait({accepting})
            if not accepting.cancelled() and accepting.exception() is None:
                accepting.result()[0].close()
            raise
        control: socket.socket = accepting.result()[0]
        control.setblocking(False)
        return control

    async def _last_words(self) -> str:
        assert self.container is not None
        with contextlib.suppress(DaemonError):
            return (await self._daemon.said(self.container)).strip()
        return ""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a control message without a descriptor; a harness that has gone hears nothing."""
        with contextlib.suppress(OSError):
            if self._control is not None:
                self._control.send(json.dumps(message).encode())

    def expect(self, run_id: str) -> None:
        """Note that a run begins, whose end will be waited for."""
        self._ended[run_id] = asyncio.Event()

    def forget(self, run_id: str) -> None:
        """Note that nobody waits for a run any more."""
        self._ended.pop(run_id, None)

    async def resize(self, limits: Share) -> None:
        """Change what the container may use; raises `DaemonError`."""
        assert self.container is not None
        await self._daemon.resize(self.container, limits.fields)

    async def usage(self) -> Usage:
        """Measure."""
        if self.meter.is_local or self.container is None or self._exited.is_set():
            return self.meter.usage()
        with contextlib.suppress(DaemonError):
            return self.meter.note(await self._daemon.stats(self.container))
        return self.meter.usage()

    # what runs need (`vitrine_engine.place.Host`)

    async def hand_over(self, message: dict[str, Any], sock: socket.socket) -> None:
        """Send a control message with a descriptor; raises `OSError` when the harness has gone."""
        if self._control is None or self._exited.is_set():
            raise ConnectionResetError("the container has ended")
        socket.send_fds(self._control, [json.dumps(message).encode()], [sock.fileno()])

    async def kill_run(self, run_id: str) -> None:  # noqa: ARG002 - a container has one run
        """Kill the container: nothing else was in it."""
        if not self.is_script:
            self._on_lost(self)
        await self._kill()

    async def wait_ended(self, run_id: str) -> None:
        """Return when the run has ended, or the container has and its last figures are known."""
        ended = self._ended.get(run_id)
        if ended is not None and not self._exited.is_set():
            await ended.wait()
        if self._exited.is_set():
            await self._settled.wait()
        elif not self.meter.is_local:
            await self._take_last_figures()

    async def _take_last_figures(self) -> None:
        """Ask the daemon. Whether memory ran out it says of ended containers only; a script's has served."""
        await self.usage()
        if self.is_script and self.container is not None:
            self._killed = True
            with contextlib.suppress(DaemonError):
                await self._daemon.kill(self.container)
                await self._wait_stopped()
                await self._ask_for_kills()

    async def destroy(self) -> None:
        """Kill the container, whose harness broke the protocol or died, and the sandbox with it."""
        self.is_broken = True
        self._on_lost(self)
        await self._kill()

    async def discard(self) -> None:
        """Kill and remove the container, at the latest when the daemon can be reached again."""
        await self._kill()
        if self.container is not None:
            await self._daemon.remove_surely(self.container)
        if self._process is not None:
            os.close(self._process)
            self._process = None
        shutil.rmtree(self._directory, ignore_errors=True)

    # the end

    async def _kill(self) -> None:
        self._killed = True
        self.meter.out_of_memory_kills()
        if self._reading is not None and not self._exited.is_set():
            await self._signal()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS):
                    await self._exited.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        # A harness that is left over, because the daemon cannot be reached, ends when this socket does.
        self._finish()
        await self._settled.wait()

    async def _signal(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
                return
        assert self.container is not None
        with contextlib.suppress(DaemonError):
            await self._daemon.kill(self.container)

    async def _read_control(self) -> None:
        """Note ended runs until the harness hangs up."""
        assert self._control is not None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError, ViolationError):
            while data := await self._loop.sock_recv(self._control, CONTROL_BYTES):
                message = json.loads(data)
                if message["is"] == "ended" and message["id"] in self._ended:
                    self._ended[message["id"]].set()
                elif message["is"] == "died":
                    self.death = checks.whole(message["code"], most=255)
        self._finish()

    def _finish(self) -> None:
        """Note that the harness has gone, and find out how the container ended."""
        if self._exited.is_set():
            return
        if self._control is not None:
            self._control.close()
            self._control = None
        self._exited.set()
        for ended in self._ended.values():
            ended.set()
        self._settling = self._loop.create_task(self._settle())

    async def _settle(self) -> None:
        """Ask the daemon whether the container died at its memory limit; not for long."""
        try:
            if not self._killed:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._wait_stopped()
                    await self._ask_for_kills()
        except (DaemonError, TimeoutError):
            pass
        finally:
            self._settled.set()
        if not self._killed:
            self._on_lost(self)

    async def _wait_stopped(self) -> None:
        assert self.container is not None
        while (await self._daemon.inspect(self.container))["State"]["Running"]:  # noqa: ASYNC110 - the daemon's
            await asyncio.sleep(0.02)

    async def _ask_for_kills(self) -> None:
        assert self.container is not None
        with contextlib.suppress(DaemonError):
            state = (await self._daemon.inspect(self.container))["State"]
            self.meter.note_end(out_of_memory=bool(state["OOMKilled"]))
