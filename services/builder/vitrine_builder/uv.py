"""The uv binary as the builder uses it: no configuration but the operator's, no build, a private cache."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uv import find_uv_bin

from vitrine_builder.failures import BuildFailure, FailureReason, explain
from vitrine_builder.lock import Target
from vitrine_builder.process import Bounds, ProcessTimeout, run_process
from vitrine_builder.spread import spread
from vitrine_builder.workspace import INSTALLERS
from vitrine_common.usage import UseTable

_COMMON = (
    "--color=never",
    "--no-progress",
    "--no-python-downloads",
    "--keyring-provider=disabled",
    # A source distribution's build runs its author's code: never in a service process.
    "--only-binary=:all:",
)


@dataclass(frozen=True)
class Uv:
    """Runs `uv pip …`.

    Attributes:
        directory: a private home and cache for uv; nothing else writes there.
        python: the interpreter that environments are made for. It is asked for its tags, nothing more.
        environment: the operator's index settings as uv's variables, certificates and proxies included.
        config: the only configuration file that uv reads; None: none at all.
        lifeline: a descriptor that children keep open, so that a lock on it outlives this process with them.
    """

    directory: Path
    python: Path
    target: Target
    environment: Mapping[str, str] = field(repr=False)
    bounds: Bounds
    lifeline: int | None = None
    config: Path | None = None
    binary: str = field(default_factory=find_uv_bin)

    async def pip(
        self,
        action: str,
        arguments: Sequence[str],
        requirements: str,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> str:
        """Run `uv pip <action>` on `requirements`, given on stdin, and return its stdout.

        Raises:
            BuildFailure: uv failed or took too long; says why.
        """
        home = self.directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        cache = self.directory / "cache"
        cache.mkdir(exist_ok=True)
        spread(cache)
        command = [
            *(self.binary, "pip", action, *_COMMON),
            *(("--config-file", str(self.config)) if self.config else ("--no-config",)),
            *("--python", str(self.python), "--python-platform", self.target.platform),
            *("--cache-dir", str(cache)),
            *arguments,
        ]
        try:
            # Whoever installs looks at what was unpacked afterwards, and says for itself that it is in use.
            async with self._in_use() if action == "compile" else contextlib.nullcontext():
                finished = await run_process(
                    command,
                    bounds=self.bounds,
                    environment={"PATH": "/usr/bin:/bin", "HOME": str(home), **self.environment},
                    directory=home,
                    stdin=requirements.encode(),
                    keep_open=() if self.lifeline is None else (self.lifeline,),
                    on_line=on_line,
                )
        except ProcessTimeout:
            sentence = (
                f"The package index did not deliver within {self.bounds.seconds:g} seconds; try again later."
            )
            raise BuildFailure(FailureReason.TIMEOUT, sentence) from None
        if finished.returncode:
            raise explain(finished.stderr, finished.returncode)
        return finished.stdout.decode()

    @contextlib.asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        """Keep the cache from being emptied while the block lasts."""
        with UseTable(self.directory.parent / "uses").open() as uses:
            await uses.add(INSTALLERS)
            yield
