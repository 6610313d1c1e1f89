"""Requirements to lock: which version of which wheel, decided by uv and remembered for a while."""

from __future__ import annotations

import hashlib
import json
import os
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.lock import Lock, LockedPackage
from vitrine_builder.requirements import Requirements
from vitrine_builder.uv import Uv

_HASH_NAMES = ("sha256", "sha384", "sha512")


@dataclass(frozen=True)
class Resolver:
    """Turns requirements into locks.

    A resolution is kept in `directory` under the digest of (requirements, target, index settings), and
    used again for `max_age` seconds: within it, equal requirements give the equal environment.
    """

    uv: Uv
    directory: Path
    max_age: float

    async def resolve(
        self, requirements: Requirements, on_line: Callable[[str], None] = lambda _line: None
    ) -> Lock:
        """Return the lock of `requirements`; nothing is downloaded but metadata.

        Raises:
            BuildFailure: there is none; says why.
        """
        if not requirements.lines:
            return Lock(())
        place = self.directory / f"{self._key(requirements)}.json"
        lock = self._remembered(place)
        if lock is None:
            lock = _parse(await self._ask(requirements, on_line))
            self._remember(place, lock)
        return _only_named_hashes(lock, requirements)

    async def _ask(self, requirements: Requirements, on_line: Callable[[str], None]) -> str:
        arguments = [
            *("--python-version", self.uv.target.python, "--generate-hashes"),
            # The one format that tells wheels from source distributions, whose hashes no lock may hold.
            *("--format=pylock.toml", "--no-header", "--no-annotate"),
            "-",
        ]
        return await self.uv.pip("compile", arguments, requirements.text, on_line)

    def _key(self, requirements: Requirements) -> str:
        target = self.uv.target
        # Digested as a whole, for index settings may hold credentials.
        parts = [requirements.digest, target.python, target.platform, *sorted(self.uv.environment.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _remembered(self, place: Path) -> Lock | None:
        try:
            kept = json.loads(place.read_bytes())
            if 0 <= time.time() - kept["resolved_at"] < self.max_age:
                return Lock.from_json(kept["packages"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass  # never resolved, or cut short by a full disk: resolve
        return None

    def _remember(self, place: Path, lock: Lock) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
        draft.write_text(json.dumps({"resolved_at": time.time(), "packages": lock.to_json()}))
        draft.replace(place)


def _parse(pylock: str) -> Lock:
    """Read uv's `pylock.toml` (PEP 751), which for one target lists just the wheels that fit it."""
    try:
        packages = tomllib.loads(pylock).get("packages", [])
        return Lock(tuple(_package(entry) for entry in packages))
    except (tomllib.TOMLDecodeError, KeyError) as error:
        sentence = "The package resolver answered in a form that the platform does not know."
        raise BuildFailure(FailureReason.INTERNAL, sentence, None, (str(error),)) from error


def _package(entry: dict[str, Any]) -> LockedPackage:
    wheels = entry["wheels"]
    hashes = {
        f"{name}:{wheel['hashes'][name]}"
        for wheel in wheels
        for name in _HASH_NAMES
        if name in wheel["hashes"]
    }
    sizes = [wheel["size"] for wheel in wheels if "size" in wheel]
    return LockedPackage(entry["name"], entry["version"], tuple(sorted(hashes)), max(sizes, default=None))


def _only_named_hashes(lock: Lock, requirements: Requirements) -> Lock:
    """Hold the lock to the hashes that the requirements name; uv resolves without a look at them."""
    packages = []
    for package in lock.packages:
        line = requirements.find(package.name)
        if line is None or not line.hashes:
            packages.append(package)
            continue
        allowed = tuple(value for value in package.hashes if value in line.hashes)
        if not allowed:
            culprit = f"{package.name}=={package.version}"
            sentence = (
                f"{requirements.name} line {line.line}: none of the hashes given for `{culprit}` is that of "
                f"a wheel for this platform; write `--hash={package.hashes[0]}`, or drop the line's hashes."
            )
            raise BuildFailure(FailureReason.HASH_MISMATCH, sentence, culprit)
        packages.append(replace(package, hashes=allowed))
    return Lock(tuple(packages))
