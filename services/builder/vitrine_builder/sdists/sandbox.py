"""The sandbox in which a package's build runs: no network, no variable of ours, limits on everything."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vitrine_builder.failures import LOG_TAIL_LINES, scrub
from vitrine_builder.sdists import hooks
from vitrine_common.ids import new_id
from vitrine_engine import (
    Engine,
    Finished,
    InputFile,
    Limits,
    Log,
    Outcome,
    OutputFile,
    OutputSpec,
    Reason,
    RunRequest,
    Sandbox,
    SandboxSpec,
    ScriptModel,
    StartError,
)
from vitrine_engine.process import ProcessEngine

_MOST_BUILDERS = 64
_LOG_BYTES = 256 * 1024
_VARIABLES = {
    # 1980-01-01: the earliest time that an archive can hold.
    "SOURCE_DATE_EPOCH": "315532800",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_NO_COMPILER = (
    "unable to execute 'gcc'",
    "command 'gcc' failed: no such file",
    "command 'cc' failed: no such file",
    "no working compiler found",
    "failed to find c compiler",
    "unknown compiler(s)",
    "could not find a c compiler",
    "no such file or directory: 'gcc'",
    "no such file or directory: 'cc'",
    "gcc: not found",
    "cc: not found",
)

Step = Literal["inspect", "requires", "build"]


class SandboxFailure(Exception):
    """The build failed; `why` is a part of a sentence, `log` its end."""

    def __init__(self, why: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.log = log


@dataclass(frozen=True)
class BuildLimits:
    """What the build of one source distribution may use."""

    seconds: float = 600.0
    memory_bytes: int = 4 << 30
    disk_bytes: int = 2 << 30
    wheel_bytes: int = 512 << 20
    processes: int = 256
    cpus: float = 2.0


@dataclass
class BuildSandboxes:
    """Makes sandboxes with the process engine, started when the first one is needed.

    Several builders may share `directory`; each takes a numbered folder of it for its engine.
    """

    directory: Path
    limits: BuildLimits = field(default_factory=BuildLimits)
    _engine: Engine | None = None

    async def run(self, step: Step, sdist: Path, environment: Path | None, answer: Path) -> list[Path]:
        """Do one step with the archive `sdist` and put the files that come out into the folder `answer`.

        `environment` has the packages that the build needs. Nothing of the archive is unpacked or read here.

        Raises:
            SandboxFailure: the step failed, or came to a limit.
        """
        found = []
        tail = _Tail()
        outcome = Outcome(reason=Reason.PLATFORM_ERROR, message="no sandbox can be made")
        request = RunRequest(
            id=new_id("step"),
            argv=("python", "-B", "hooks.py", step),
            files=(InputFile(name="sdist", source=sdist, destination=f"sdist/{sdist.name}"),),
            env=_VARIABLES,
            outputs=(OutputSpec(pattern="answer/*"),),
        )
        async with self._sandbox(answer, environment) as sandbox:
            async for event in sandbox.run(request):
                if isinstance(event, Log):
                    tail.add(event.data)
                elif isinstance(event, OutputFile):
                    place = answer / Path(event.name).name
                    shutil.move(event.file, place)
                    found.append(place)
                elif isinstance(event, Finished):
                    outcome = event.outcome
        if outcome.reason is not None:
            raise SandboxFailure(self._why(outcome, tail.lines()), tail.lines())
        return found

    async def aclose(self) -> None:
        """Stop what still runs; idempotent."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.aclose()

    @contextlib.asynccontextmanager
    async def _sandbox(self, scratch: Path, environment: Path | None) -> AsyncIterator[Sandbox]:
        bundle = _bundle(scratch.with_name(f"{scratch.name}.bundle"))
        limits = Limits(
            memory_bytes=self.limits.memory_bytes,
            cpus=self.limits.cpus,
            processes=self.limits.processes,
            disk_bytes=self.limits.disk_bytes,
            output_bytes=self.limits.wheel_bytes,
            log_bytes=_LOG_BYTES,
            wall_seconds=self.limits.seconds,
        )
        spec = SandboxSpec(id=new_id("sdist"), environment=environment, bundle=bundle, limits=limits)
        try:
            sandbox = await self._started().start(spec)
        except StartError as error:
            raise SandboxFailure(f"no sandbox can be made on the builder ({scrub(str(error))})") from error
        try:
            await sandbox.load(ScriptModel())
            yield sandbox
        finally:
            await sandbox.stop()
            shutil.rmtree(bundle, ignore_errors=True)

    def _started(self) -> Engine:
        """Return the engine. What a killed one left behind in a folder goes with the next that takes it."""
        if self._engine is None:
            for number in range(_MOST_BUILDERS):
                try:
                    self._engine = ProcessEngine(self.directory / str(number))
                    break
                except StartError:
                    if shutil.which("bwrap") is None or number == _MOST_BUILDERS - 1:
                        raise
        assert self._engine is not None
        return self._engine

    def _why(self, outcome: Outcome, log: tuple[str, ...]) -> str:
        limits = self.limits
        text = " ".join(log).lower()
        known = {
            Reason.TIMEOUT: f"it did not end within {limits.seconds:g} seconds",
            Reason.OUT_OF_MEMORY: f"it needs more than {limits.memory_bytes >> 20} MiB of memory",
            Reason.DISK_FULL: f"it writes more than {limits.disk_bytes >> 20} MiB",
            Reason.OUTPUT_TOO_LARGE: f"its wheel has more than {limits.wheel_bytes >> 20} MiB",
        }
        if outcome.reason in known:
            return known[outcome.reason]
        if any(words in text for words in _NO_COMPILER):
            return "it needs a C compiler, and the platform has none where packages are built"
        said = scrub(outcome.message).strip() or (log[-1] if log else "")
        return f"its build ended with `{said[:200]}`" if said else "its build failed"


def _bundle(folder: Path) -> Path:
    """Make `folder` with the one program that runs beside the source."""
    folder.mkdir(mode=0o755)
    program = folder / "hooks.py"
    program.write_bytes(Path(hooks.__file__).read_bytes())
    program.chmod(0o644)
    return folder


class _Tail:
    """The last lines of what a build printed."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-4_000:]
        self._lines.extend(scrub(line[-1_000:].decode(errors="replace")) for line in lines if line.strip())

    def lines(self) -> tuple[str, ...]:
        rest = scrub(self._rest[-1_000:].decode(errors="replace")).strip()
        return (*self._lines, rest) if rest else tuple(self._lines)
