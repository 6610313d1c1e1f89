"""A sandbox of the process engine: a launcher, a supervisor inside, and a stream for every run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from vitrine_engine.process.cgroups import Group
from vitrine_engine.process.meter import Meter, descendants
from vitrine_engine.protocol import SandboxSpec, StartError, Usage
from vitrine_engine.run import Host
from vitrine_engine.serving import Serving, check_greeting
from vitrine_harness.boot import CONTROL_BYTES

START_SECONDS = 30.0
KILL_SECONDS = 5.0
STDERR_BYTES = 4096


class ProcessSandbox(Serving):
    """Implements `Sandbox`. Made by `ProcessEngine.start`, which calls `connect`."""

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        group: Group,
        spool: Path,
        on_gone: Callable[[str], None],
    ) -> None:
        super().__init__(spec, spool)
        self.meter = Meter(process.pid, group, memory_bytes=spec.limits.memory_bytes)
        self._process = process
        self._control = control
        self._group = group
        self._on_gone = on_gone
        self._exited = asyncio.Event()
        self._gone = asyncio.Event()
        self._ended: dict[str, asyncio.Event] = {}
        self._stderr = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._watch()

    @property
    def pid(self) -> int | None:
        """The launcher's process, which lives as long as the sandbox."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the sandbox can still take runs."""
        return not self.stopping and not self._exited.is_set()

    async def connect(self, setup: dict[str, Any]) -> None:
        """Hand the harness its setup and wait until it is ready; raises `StartError`."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._loop.sock_sendall(self._control, json.dumps(setup).encode())
                answer = await self._loop.sock_recv(self._control, CONTROL_BYTES)
            check_greeting(answer)
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            await asyncio.sleep(0.05)
            said = self._stderr.decode(errors="replace").strip() or str(error) or "it did not answer"
            await self.stop()
            raise StartError(f"sandbox {self.id} could not be started: {said[-1000:]}") from error
        self._reading = self._background(self._read_control())

    async def usage(self) -> Usage:
        """Measure; see `Sandbox.usage`."""
        if self._exited.is_set():
            return Usage(memory_bytes=0, cpu_seconds=0.0, processes=0, disk_bytes=0)
        return Usage(
            memory_bytes=self.meter.memory_bytes(),
            cpu_seconds=self.meter.cpu_seconds(),
            processes=self.meter.processes(),
            disk_bytes=sum(run.disk_bytes for run in self._runs.values()),
        )

    async def stop(self) -> None:
        """Kill everything and leave nothing behind; see `Sandbox.stop`."""
        self.stopping = True
        await self.destroy()
        await self._gone.wait()

    async def _serve_scripts(self) -> None:
        """Nothing to do: the harness forks for every run."""

    async def _serve_one_model(self) -> Host:
        return self

    @contextlib.asynccontextmanager
    async def _place(self, run_id: str) -> AsyncIterator[Host]:
        self._ended[run_id] = asyncio.Event()
        try:
            yield self
        finally:
            self._ended.pop(run_id, None)

    async def wait_exited(self) -> None:
        """Return when the sandbox is gone."""
        await self._gone.wait()

    # what runs need (`vitrine_engine.run.Host`)

    async def hand_over(self, message: dict[str, Any], sock: socket.socket) -> None:
        """Send a control message with a descriptor; raises `OSError` when the sandbox has gone."""
        data = json.dumps(message).encode()
        while True:
            try:
                socket.send_fds(self._control, [data], [sock.fileno()])
            except BlockingIOError:
                await asyncio.sleep(0.001)
            else:
                return

    async def kill_run(self, run_id: str) -> None:
        """Kill a run, with the sandbox where there is no other way, and wait until it is gone."""
        if not self.is_script or self._exited.is_set():
            await self.destroy()
            return
        with contextlib.suppress(OSError, TimeoutError):
            self._control.send(json.dumps({"do": "kill", "id": run_id}).encode())
            async with asyncio.timeout(KILL_SECONDS):
                await self.wait_ended(run_id)
            return
        await self.destroy()

    async def wait_ended(self, run_id: str) -> None:
        """Return when nothing of the run is left, or the sandbox is gone."""
        ended = self._ended.get(run_id)
        if ended is not None and not self._exited.is_set():
            await ended.wait()

    async def destroy(self) -> None:
        """Kill the sandbox and wait until it is dead."""
        if not self._exited.is_set():
            # The inner init first: its death takes all others along, and only then the launcher ends.
            inner = descendants(self._process.pid)[1:2]
            for pid in inner:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS if inner else 0):
                    await self._exited.wait()
            self._process.kill()
            self._group.kill()
        await self._exited.wait()

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
        self.meter.close()
        self._exited.set()
        for ended in self._ended.values():
            ended.set()
        self._background(self._clean_up())

    async def _clean_up(self) -> None:
        """Free what the host holds for the sandbox; control groups once the last process has left them."""
        assert self._process.stderr is not None
        self._loop.remove_reader(self._process.stderr.fileno())
        with contextlib.suppress(OSError):
            self._on_stderr()
        self._loop.remove_reader(self._process.stderr.fileno())
        self._process.stderr.close()
        self._group.kill()
        for _ in range(500):
            if self._group.remove():
                break
            await asyncio.sleep(0.01)
        if self._reading is not None:
            # The loop must forget the descriptor before it is closed: its number is soon another sandbox's,
            # whose messages would then never be heard.
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._control.close()
        self._on_gone(self.id)
        self._gone.set()

    async def _read_control(self) -> None:
        """Note ended runs; anything else is a violation, and the end of the stream that of the sandbox."""
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(self._control, CONTROL_BYTES):
                try:
                    message = json.loads(data)
                    ended = self._ended.get(message["id"]) if message["is"] == "ended" else None
                except (ValueError, KeyError, TypeError, RecursionError):
                    break
                if ended is not None:
                    ended.set()
        await self.destroy()
