"""One child process at a time: bounded in time and output, and gone when its caller is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 200
_MAX_LINE = 4_000


class ProcessTimeout(Exception):
    """The child did not finish in time and was killed."""


@dataclass(frozen=True)
class Finished:
    """How a child ended: its exit status (negative: the signal), all of stdout, the end of stderr."""

    returncode: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True)
class Bounds:
    """What a child may use: seconds of wall clock, and bytes of any one file that it writes."""

    seconds: float
    file_bytes: int | None = None


async def run_process(
    command: Sequence[str],
    *,
    bounds: Bounds,
    environment: Mapping[str, str],
    directory: Path,
    stdin: bytes | AsyncIterator[bytes] = b"",
    keep_open: Sequence[int] = (),
    on_line: Callable[[str], None] = lambda _line: None,
    on_output: Callable[[bytes], None] = lambda _output: None,
) -> Finished:
    """Run `command` to its end; `on_line` is told every line of its stderr, `on_output` stdout as it comes.

    The child leads its own process group, and the whole group is killed when the caller is cancelled or
    the time is over. Descriptors in `keep_open` stay open in the child. Of a `stdin` that comes bit by bit,
    what the child does not wait for is left.

    Raises:
        ProcessTimeout: it did not finish in time.
        OSError: it cannot be started.
    """
    child = await asyncio.create_subprocess_exec(
        *_limited(command, bounds.file_bytes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
        pass_fds=tuple(keep_open),
        limit=1 << 20,
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    writing = asyncio.create_task(_write(child, stdin))
    try:
        async with asyncio.timeout(bounds.seconds):
            stdout, _ = await asyncio.gather(_read(child, on_output), _read_lines(child, tail, on_line))
            returncode = await child.wait()
    except TimeoutError:
        raise ProcessTimeout(f"no result after {bounds.seconds:g} seconds") from None
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await _end(child)
    return Finished(returncode, stdout, "\n".join(tail))


def _limited(command: Sequence[str], file_bytes: int | None) -> Sequence[str]:
    """Return `command` held to files of so many bytes.

    By a program in front: code between fork and exec of a process with threads may deadlock, and from outside
    a child can be limited no more once it has taken another user.
    """
    if file_bytes is None:
        return command
    return ["prlimit", f"--fsize={file_bytes}:{file_bytes}", "--", *command]


async def _read(child: asyncio.subprocess.Process, on_output: Callable[[bytes], None]) -> bytes:
    assert child.stdout is not None
    read = []
    while chunk := await child.stdout.read(1 << 16):
        read.append(chunk)
        on_output(chunk)
    return b"".join(read)


async def _write(child: asyncio.subprocess.Process, data: bytes | AsyncIterator[bytes]) -> None:
    assert child.stdin is not None
    try:
        with contextlib.suppress(ConnectionError):
            async for part in _once(data) if isinstance(data, bytes) else data:
                child.stdin.write(part)
                await child.stdin.drain()
    finally:
        child.stdin.close()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _read_lines(
    child: asyncio.subprocess.Process, tail: deque[str], on_line: Callable[[str], None]
) -> None:
    assert child.stderr is not None
    async for line in _lines(child.stderr):
        tail.append(line)
        on_line(line)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield lines cut to a sane length; a line without end cannot fill memory."""
    rest = b""
    while chunk := await stream.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:_MAX_LINE]
        for line in lines:
            yield line[:_MAX_LINE].decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await asyncio.shield(child.wait())
