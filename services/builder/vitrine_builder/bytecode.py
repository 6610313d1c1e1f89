"""Bytecode ahead of time: the difference between seconds and milliseconds at a model's first import."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder import bytecode_worker
from vitrine_builder.failures import BuildFailure, FailureReason, explain
from vitrine_builder.lock import Target
from vitrine_builder.process import Bounds, ProcessTimeout, run_process

_PROBE = (
    "import sys, importlib.util;"
    "sys.stdout.write('%d.%d.%d%s' % sys.version_info[:4] + ' ' + importlib.util.MAGIC_NUMBER.hex())"
)


@dataclass(frozen=True)
class Compiled:
    """What compiling a folder gave: how many files have bytecode, and how many do not compile."""

    files: int
    failed: int


@dataclass(frozen=True)
class Folder:
    """A folder to compile, where a sandbox sees it (for tracebacks), and where bytecode goes."""

    root: Path
    inside: str
    target: Path


class Pauses:
    """Says when work in the background has to wait."""

    def __init__(self) -> None:
        self._clear = asyncio.Event()
        self._clear.set()
        self._waiting: set[asyncio.Event] = set()

    @property
    def paused(self) -> bool:
        """Whether it has to wait now."""
        return not self._clear.is_set()

    def set(self, *, paused: bool) -> None:
        """Let it wait, or go on."""
        if paused != self.paused:
            self._clear.clear() if paused else self._clear.set()
            for event in self._waiting:
                event.set()

    async def over(self) -> None:
        """Return as soon as there is no pause."""
        await self._clear.wait()

    async def orders(self, asked: bytes, ended: asyncio.Event) -> AsyncIterator[bytes]:
        """Yield `asked`, and then every change for the worker until `ended` is set."""
        news, told = asyncio.Event(), False
        self._waiting.add(news)
        end = asyncio.ensure_future(ended.wait())
        try:
            yield asked
            while not ended.is_set():
                if self.paused != told:
                    told = self.paused
                    yield b"pause\n" if told else b"go\n"
                news.clear()
                change = asyncio.ensure_future(news.wait())
                await asyncio.wait({change, end}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
        finally:
            end.cancel()
            self._waiting.discard(news)


@dataclass(frozen=True)
class Compiler:
    """Runs the interpreter that sandboxes run, so that the bytecode is the one that it accepts.

    Source files are parsed, never imported: a package's `.pth` files and `sitecustomize` lie below the
    folder, which is on no path of this interpreter (`-P -s -S`).

    Attributes:
        version: names the interpreter and the program that it runs, see `Interpreter`.
    """

    python: Path
    version: str
    bounds: Bounds
    jobs: int = os.cpu_count() or 1
    lifeline: int | None = None

    async def compile(
        self,
        folders: Sequence[Folder],
        on_done: Callable[[int, Compiled], None],
        pauses: Pauses | None = None,
    ) -> None:
        """Compile everything below `folders`, the first ones first, and tell as each (by number) is done.

        With `pauses` it is done in the background, at a low priority.

        Raises:
            BuildFailure: bytecode cannot be written, or not in time.
        """
        if not folders:
            return
        command = [
            # Not `-I`: it would ignore the hash seed, on which the order of constants depends.
            *(str(self.python), "-P", "-s", "-S", "-B", "-W", "ignore"),
            *(bytecode_worker.__file__, str(self.jobs)),
            *(() if pauses is None else ("background",)),
        ]
        asked = "".join(
            f"{number}\t{each.root}\t{each.inside}\t{each.target}\n" for number, each in enumerate(folders)
        ).encode()
        ended = asyncio.Event()
        answers = _Answers(on_done, len(folders), ended)
        try:
            finished = await run_process(
                command,
                bounds=self.bounds,
                environment={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
                directory=Path("/"),
                stdin=asked if pauses is None else pauses.orders(asked, ended),
                keep_open=() if self.lifeline is None else (self.lifeline,),
                on_output=answers,
            )
        except ProcessTimeout as error:
            raise BuildFailure(FailureReason.TIMEOUT, f"Compiling to bytecode gave {error}.") from None
        if finished.returncode:
            raise explain(finished.stderr, finished.returncode)


class _Answers:
    """Reads the worker's lines as they come."""

    def __init__(self, on_done: Callable[[int, Compiled], None], left: int, ended: asyncio.Event) -> None:
        self._on_done = on_done
        self._left = left
        self._ended = ended
        self._rest = b""

    def __call__(self, output: bytes) -> None:
        *lines, self._rest = (self._rest + output).split(b"\n")
        for line in lines:
            number, files, failed = map(int, line.split())
            self._on_done(number, Compiled(files, failed))
            self._left -= 1
        if not self._left:
            self._ended.set()


@dataclass(frozen=True)
class Interpreter:
    """What compiles: its exact version and its program's digest (`3.11.7-0a1b2c3d`), and its magic number.

    Interpreters of one magic number may write different bytecode for one source, each as good as the other,
    and so does one interpreter that runs another program. So what holds bytecode names both.
    """

    version: str
    magic: str


async def require_interpreter(python: Path, target: Target) -> Interpreter:
    """Check that `python` is what `target` asks for; return what it says of itself.

    Raises:
        BuildFailure: it does not run, or is another version.
    """
    try:
        finished = await run_process(
            [str(python), "-I", "-S", "-c", _PROBE],
            bounds=Bounds(30),
            environment={"PATH": "/usr/bin:/bin"},
            directory=Path("/"),
        )
        version, magic = finished.stdout.decode().split()
    except (OSError, ProcessTimeout, ValueError) as error:
        raise BuildFailure(
            FailureReason.INTERNAL, f"The interpreter {python} does not run: {error}"
        ) from None
    short = ".".join(version.split(".")[:2])
    if short != target.python:
        sentence = f"The interpreter {python} is Python {short}, and environments are for {target.python}."
        raise BuildFailure(FailureReason.INTERNAL, sentence)
    return Interpreter(f"{version.removesuffix('final')}-{_worker_digest()}", magic)


def _worker_digest() -> str:
    return hashlib.sha256(Path(bytecode_worker.__file__).read_bytes()).hexdigest()[:8]
