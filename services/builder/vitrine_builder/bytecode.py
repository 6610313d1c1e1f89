"""Bytecode ahead of time: the difference between seconds and milliseconds at a model's first import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vitrine_builder import bytecode_worker
from vitrine_builder.failures import BuildFailure, FailureReason, explain
from vitrine_builder.lock import Target
from vitrine_builder.process import Bounds, ProcessTimeout, run_process

_PROBE = (
    "import sys, importlib.util;"
    "sys.stdout.write('%d.%d %s' % (*sys.version_info[:2], importlib.util.MAGIC_NUMBER.hex()))"
)


@dataclass(frozen=True)
class Compiled:
    """What compiling a folder gave: how many files have bytecode, and how many do not compile."""

    files: int
    failed: int


@dataclass(frozen=True)
class Compiler:
    """Runs the interpreter that sandboxes run, so that the bytecode is the one that it accepts.

    Source files are parsed, never imported: a package's `.pth` files and `sitecustomize` lie below the
    folder, which is on no path of this interpreter (`-P -s -S`).
    """

    python: Path
    bounds: Bounds
    jobs: int = os.cpu_count() or 1
    lifeline: int | None = None

    async def compile(self, root: Path, inside: str) -> Compiled:
        """Compile everything below `root`, which a sandbox sees at `inside` (this is in the tracebacks).

        Raises:
            BuildFailure: bytecode cannot be written, or not in time.
        """
        command = [
            # Not `-I`: it would ignore the hash seed, on which the order of constants depends.
            *(str(self.python), "-P", "-s", "-S", "-B", bytecode_worker.__file__),
            *(str(root), inside, str(self.jobs)),
        ]
        try:
            finished = await run_process(
                command,
                bounds=self.bounds,
                environment={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
                directory=root,
                keep_open=() if self.lifeline is None else (self.lifeline,),
            )
        except ProcessTimeout as error:
            raise BuildFailure(FailureReason.TIMEOUT, f"Compiling to bytecode gave {error}.") from None
        if finished.returncode:
            raise explain(finished.stderr, finished.returncode)
        _, files, failed = finished.stdout.split()
        return Compiled(int(files), int(failed))


async def require_interpreter(python: Path, target: Target) -> str:
    """Check that `python` is what `target` asks for; return its bytecode's magic number, hexadecimal.

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
    if version != target.python:
        sentence = f"The interpreter {python} is Python {version}, and environments are for {target.python}."
        raise BuildFailure(FailureReason.INTERNAL, sentence)
    return magic
