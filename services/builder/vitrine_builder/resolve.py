"""Requirements to lock: which version of which wheel, decided by uv and remembered for a while."""

from __future__ import annotations

import hashlib
import json
import os
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from packaging.utils import canonicalize_name

from vitrine_builder.failures import BuildFailure, FailureReason, package_of
from vitrine_builder.lock import Lock, LockedPackage
from vitrine_builder.progress import Report, silent
from vitrine_builder.requirements import RequirementLine, Requirements
from vitrine_builder.requirements.model import place_of
from vitrine_builder.sdists import BuiltWheel
from vitrine_builder.simple_index import SimpleIndexes
from vitrine_builder.sources import UNBELIEVING, LocalLinks
from vitrine_builder.uv import Uv

MAX_BUILT = 25
"""Source distributions that one list may need built."""
_HASH_NAMES = ("sha256", "sha384", "sha512")
_PERHAPS_NEWS = frozenset({FailureReason.NO_SUCH_PACKAGE, FailureReason.NO_SUCH_VERSION})
_TOLD_VERSIONS = 5


class WheelsOfSources(Protocol):
    """Gives a wheel where the index has none; see `Sdists.wheel`."""

    async def wheel(self, culprit: str, line: RequirementLine | None, report: Report = silent) -> BuiltWheel:
        """Return a wheel of what `culprit` names, or raise BuildFailure."""

    def has(self, package: LockedPackage) -> bool:
        """Tell whether the wheel of a package with a `source` is still there."""


@dataclass(frozen=True)
class Resolver:
    """Turns requirements into locks.

    A resolution is kept in `directory` under the digest of (requirements, target, state of the indexes), and
    used again for `max_age` seconds: within it, equal requirements give the equal environment. The state is
    the operator's settings and, for local folders, what lies in them.

    Attributes:
        links: local folders of wheels.
        indexes: where versions are looked up for a failure's sentence.
        sources: builds wheels that no index has; None where a list must do with wheels.
    """

    uv: Uv
    directory: Path
    max_age: float
    links: LocalLinks | None = None
    indexes: SimpleIndexes | None = None
    sources: WheelsOfSources | None = None

    async def resolve(
        self, requirements: Requirements, report: Report = silent, *, refresh: bool = False
    ) -> Lock:
        """Return the lock of `requirements`; nothing is downloaded but metadata and sources to be built.

        With `refresh`, neither a remembered resolution nor remembered answers of an index are used.

        Raises:
            BuildFailure: there is none; says why.
        """
        if not requirements.lines:
            return Lock(())
        state = await self.links.refresh() if self.links else ""
        place = self.directory / f"{self._key(requirements, state)}.json"
        lock = None if refresh else self._remembered(place)
        if lock is None or not self._still_there(lock):
            lock = await self._decide(requirements, report, refresh=refresh)
            self._remember(place, lock)
        return _only_named_hashes(lock, requirements)

    async def _decide(self, requirements: Requirements, report: Report, *, refresh: bool) -> Lock:
        """Ask until there is an answer: again with fresh pages, and again with a wheel that was missing."""
        built: dict[str, BuiltWheel] = {}
        while True:
            try:
                answer = await self._ask(requirements, list(built.values()), refresh=refresh)
                return _with_sources(_parse(answer), built)
            except BuildFailure as failure:
                name = package_of(failure.culprit)
                if failure.reason in _PERHAPS_NEWS and not refresh and self.uv.config is not None:
                    refresh = True
                elif (
                    failure.reason is FailureReason.NO_WHEEL
                    and failure.culprit is not None
                    and self.sources is not None
                    and name not in built
                    and len(built) < MAX_BUILT
                ):
                    built[name] = await self._build(failure.culprit, requirements, report)
                else:
                    raise locate(await self._with_versions(failure), requirements) from None

    async def _build(self, culprit: str, requirements: Requirements, report: Report) -> BuiltWheel:
        assert self.sources is not None
        try:
            line = requirements.find(package_of(culprit))
            return await self.sources.wheel(culprit, line, report)
        except BuildFailure as failure:
            raise locate(failure, requirements) from None

    async def _ask(self, requirements: Requirements, built: Sequence[BuiltWheel], *, refresh: bool) -> str:
        arguments = [
            *("--python-version", self.uv.target.python, "--generate-hashes"),
            # The one format that tells wheels from source distributions, whose hashes no lock may hold.
            *("--format=pylock.toml", "--no-header", "--no-annotate"),
            *(("--no-deps",) if requirements.exact else ()),
            *(("--refresh",) if refresh else ()),
            *(argument for wheel in built for argument in ("--find-links", str(wheel.path.parent))),
            "-",
        ]
        # Hashes are held to afterwards: uv would hold a wheel that was built here to its source's hash.
        text = "".join(f"{line.text}\n" for line in requirements.lines)
        uv = self.uv
        if refresh and uv.config is not None:
            uv = replace(uv, config=uv.config.with_name(UNBELIEVING))
        return await uv.pip("compile", arguments, text)

    async def _with_versions(self, failure: BuildFailure) -> BuildFailure:
        """Say which versions there are, where one was asked for that is none."""
        if failure.reason is not FailureReason.NO_SUCH_VERSION or self.indexes is None:
            return failure
        try:
            files = await self.indexes.files(package_of(failure.culprit))
        except BuildFailure:
            return failure
        versions = list(dict.fromkeys(str(file.version) for file in files if not file.yanked))
        if not versions:
            return failure
        newest, more = ", ".join(versions[:_TOLD_VERSIONS]), len(versions) > _TOLD_VERSIONS
        sentence = f"There is no version `{failure.culprit}`; the index has {newest}{' …' if more else ''}."
        return BuildFailure(failure.reason, sentence, failure.culprit, failure.log, failure.parties)

    def _key(self, requirements: Requirements, state: str) -> str:
        target = self.uv.target
        config = self.uv.config.read_text() if self.uv.config else ""
        # Digested as a whole, for index settings may hold credentials.
        parts = [
            *(requirements.digest, target.python, target.platform, state, config),
            *sorted(self.uv.environment.items()),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _remembered(self, place: Path) -> Lock | None:
        try:
            kept = json.loads(place.read_bytes())
            if 0 <= time.time() - kept["resolved_at"] < self.max_age:
                return Lock.from_json(kept["packages"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass  # never resolved, or cut short by a full disk: resolve
        return None

    def _still_there(self, lock: Lock) -> bool:
        """Tell whether every wheel that was built here for `lock` is; they may be swept."""
        built = [package for package in lock.packages if package.source is not None]
        return all(self.sources is not None and self.sources.has(package) for package in built)

    def _remember(self, place: Path, lock: Lock) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
        draft.write_text(json.dumps({"resolved_at": time.time(), "packages": lock.to_json()}))
        draft.replace(place)


def locate(failure: BuildFailure, requirements: Requirements) -> BuildFailure:
    """Return `failure` with the line of the requirement at fault, or of the one that asks for it."""
    for party in (failure.culprit, *failure.parties):
        line = requirements.find(package_of(party)) if party else None
        if line is not None:
            sentence = f"{place_of(requirements.name, line.line)}: {failure.sentence}"
            return BuildFailure(failure.reason, sentence, failure.culprit, failure.log, failure.parties)
    return failure


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


def _with_sources(lock: Lock, built: dict[str, BuiltWheel]) -> Lock:
    packages = []
    for package in lock.packages:
        wheel = built.get(canonicalize_name(package.name))
        if wheel is not None and wheel.hash in package.hashes:
            hashes = tuple(sorted({wheel.hash, wheel.source}))
            packages.append(replace(package, hashes=hashes, source=wheel.source))
        else:
            packages.append(package)
    return Lock(tuple(packages))


def _only_named_hashes(lock: Lock, requirements: Requirements) -> Lock:
    """Hold the lock to the hashes that the requirements name; uv resolves without a look at them."""
    packages = []
    for package in lock.packages:
        line = requirements.find(package.name)
        if line is None or not line.hashes or package.source in line.hashes:
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
