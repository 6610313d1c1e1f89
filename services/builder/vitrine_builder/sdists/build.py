"""From a source distribution to a wheel: found, fetched by hash, built apart, looked at, kept.

Everything is remembered under digests of what it follows from, so a wheel is built once for its source, the
packages that build it, and the target. The bytes of the archive are never read in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from vitrine_builder.failures import BuildFailure, FailureReason, disk_errors
from vitrine_builder.lock import Lock, LockedPackage, Target, environment_digest
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.requirements import RequirementLine, Requirements, RequirementsError, bare_list
from vitrine_builder.sdists import hooks, sandbox
from vitrine_builder.sdists.memory import built_wheel, recall, remember, remember_origin, wheel_folder
from vitrine_builder.sdists.sandbox import BuildSandboxes, SandboxFailure
from vitrine_builder.sdists.wheel import BadWheelError, check_wheel
from vitrine_builder.simple_index import IndexFile, SimpleIndexes
from vitrine_builder.workspace import Workspace
from vitrine_common.drafts import publish
from vitrine_common.usage import environment_use

MAX_SDIST_BYTES = 512 << 20
_MAX_ANSWER = 256 << 10
_MAX_UNPACKED = 8 << 30

Resolve = Callable[[Requirements], Awaitable[Lock]]
Materialise = Callable[[Lock, Report], Awaitable[Path]]


@dataclass(frozen=True)
class BuiltWheel:
    """A wheel that was built here. Hashes are `sha256:…`, `source` that of the source distribution."""

    name: str
    version: str
    hash: str
    source: str
    path: Path


@dataclass
class Sdists:
    """Builds wheels of source distributions.

    Attributes:
        resolve: gives the lock of a build's own requirements, from wheels alone.
        materialise: gives the folder of a lock's environment.
    """

    workspace: Workspace
    indexes: SimpleIndexes
    sandboxes: BuildSandboxes
    target: Target
    resolve: Resolve
    materialise: Materialise
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def wheel(self, culprit: str, line: RequirementLine | None, report: Report = silent) -> BuiltWheel:
        """Return a wheel of the newest release that fits `culprit` (a name, perhaps versions) and `line`.

        Raises:
            BuildFailure: there is no source distribution, or it cannot be built; names it and says why.
        """
        file = await self._choose(culprit, line)
        turn = self._turns.setdefault(f"{file.name}=={file.version}", asyncio.Lock())
        async with turn:
            with disk_errors(), self.workspace.draft() as draft:
                return await _Build(self, file, draft, report).wheel()

    def has(self, package: LockedPackage) -> bool:
        """Tell whether the wheel of a package with a `source` is still there."""
        return any(built_wheel(self.workspace, value) is not None for value in package.hashes)

    async def _choose(self, culprit: str, line: RequirementLine | None) -> IndexFile:
        wanted, versions = _wanted(culprit, line)
        files = await self.indexes.files(wanted)
        fitting = [file for file in files if not file.is_wheel and _fits(file, versions, self.target)]
        if line is not None and line.hashes:
            fitting = [file for file in fitting if f"sha256:{file.sha256}" in line.hashes]
        if not fitting:
            sentence = (
                f"`{culprit}` has no wheel for Python {self.target.python} on this platform, and no source "
                "distribution that could be built. Name another version, or put its source into the bundle."
            )
            raise BuildFailure(FailureReason.NO_WHEEL, sentence, culprit)
        return fitting[0]


@dataclass(frozen=True)
class _Build:
    """The build of one source distribution; everything temporary is in the folder `draft`."""

    sdists: Sdists
    file: IndexFile
    draft: Path
    report: Report

    async def wheel(self) -> BuiltWheel:
        digest = self.file.sha256 or await self._fetch()
        first = await self._environment(await self._requires("inspect", digest, None))
        more = await self._requires("requires", digest, first)
        lock = (
            first if not more else await self._environment(more, await self._known("inspect", digest, None))
        )
        key = self._key("build", digest, lock)
        if kept := recall(self.sdists.workspace, key):
            folder = built_wheel(self.sdists.workspace, kept["wheel"])
            if folder is not None:
                return self._built(kept["wheel"], digest, folder / kept["filename"])
        self.report(Step("resolve", f"Building {self._name} from its source"))
        built = await self._run("build", lock)
        if len(built) != 1:
            self._fail("its build did not give one wheel")
        return await self._keep(built[0], digest, key, lock)

    @property
    def _name(self) -> str:
        return f"{self.file.name}=={self.file.version}"

    async def _known(self, step: sandbox.Step, digest: str, lock: Lock | None) -> list[str]:
        kept = recall(self.sdists.workspace, self._key(step, digest, lock))
        return list(kept["requires"]) if kept else []

    async def _requires(self, step: sandbox.Step, digest: str, lock: Lock | None) -> list[str]:
        """Return what the build needs, as the archive (`inspect`) or its backend (`requires`) says."""
        key = self._key(step, digest, lock)
        if kept := recall(self.sdists.workspace, key):
            return list(kept["requires"])
        requires = _answer(await self._run(step, lock))
        if requires is None:
            self._fail("its build does not say what it needs")
        remember(self.sdists.workspace, key, {"requires": requires})
        return requires

    async def _environment(self, requires: list[str], before: Sequence[str] = ()) -> Lock:
        name = f"the build requirements of {self._name}"
        try:
            return await self.sdists.resolve(bare_list([*before, *requires], name))
        except RequirementsError as error:
            self._fail(f"its build requirements are refused ({error.problem})")
        except BuildFailure as failure:
            if failure.reason in {FailureReason.INDEX_UNREACHABLE, FailureReason.DISK_FULL}:
                raise
            self._fail(f"what it needs to be built cannot be had ({failure.sentence})", failure.log)

    async def _fetch(self) -> str:
        archive = self._archive
        digest = await self.sdists.indexes.download(self.file, archive, MAX_SDIST_BYTES)
        archive.chmod(0o644)
        return digest

    @property
    def _archive(self) -> Path:
        return self.draft / self.file.filename

    async def _run(self, step: sandbox.Step, lock: Lock | None) -> list[Path]:
        if not self._archive.exists():
            await self._fetch()
        environment = None
        answer = self.draft / step
        answer.mkdir()
        with self.sdists.workspace.uses.open() as uses:
            if lock is not None and lock.packages:
                await uses.add(environment_use(environment_digest(lock, self.sdists.target)))
                environment = await self.sdists.materialise(lock, self.report)
            try:
                return await self.sdists.sandboxes.run(step, self._archive, environment, answer)
            except SandboxFailure as failure:
                self._fail(failure.why, failure.log)

    async def _keep(self, built: Path, digest: str, key: str, lock: Lock) -> BuiltWheel:
        try:
            await asyncio.to_thread(
                check_wheel, built, self.file.name, self.file.version, self.sdists.target, _MAX_UNPACKED
            )
        except BadWheelError as error:
            self._fail(str(error))
        wheel = f"sha256:{await asyncio.to_thread(_sha256, built)}"
        place = wheel_folder(self.sdists.workspace, wheel)
        self._publish(built, place)
        remember(
            self.sdists.workspace, key, {"wheel": wheel, "filename": built.name, "source": f"sha256:{digest}"}
        )
        remember_origin(self.sdists.workspace, wheel, environment_digest(lock, self.sdists.target))
        return self._built(wheel, digest, place / built.name)

    def _publish(self, built: Path, place: Path) -> None:
        folder = self.draft / "wheel"
        folder.mkdir()
        built.chmod(0o444)
        built.rename(folder / built.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        publish(folder, place)

    def _built(self, wheel: str, digest: str, path: Path) -> BuiltWheel:
        return BuiltWheel(self.file.name, str(self.file.version), wheel, f"sha256:{digest}", path)

    def _fail(self, why: str, log: tuple[str, ...] = ()) -> NoReturn:
        sentence = (
            f"`{self._name}` has no wheel for Python {self.sdists.target.python} on this platform, and its "
            f"source distribution cannot be built: {why}. Name a version that has a wheel."
        )
        raise BuildFailure(FailureReason.SOURCE_BUILD, sentence, self._name, log)

    def _key(self, step: str, digest: str, lock: Lock | None) -> str:
        environment = environment_digest(lock, self.sdists.target) if lock else ""
        parts = [_HOOKS, step, digest, environment, self.sdists.target.python, self.sdists.target.platform]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_HOOKS = hashlib.sha256(Path(hooks.__file__).read_bytes()).hexdigest()


def _answer(files: Sequence[Path]) -> list[str] | None:
    """Return the list of texts that a sandbox gave, None when it gave something else."""
    try:
        (file,) = (path for path in files if path.name == "requires.json")
        requires = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_ANSWER else None
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(requires, list) and all(isinstance(entry, str) for entry in requires)
    return requires if is_list else None


def _wanted(culprit: str, line: RequirementLine | None) -> tuple[str, SpecifierSet]:
    try:
        requirement = Requirement(culprit)
    except InvalidRequirement:
        return canonicalize_name(culprit), SpecifierSet()
    versions = requirement.specifier
    if line is not None:
        versions &= Requirement(line.text).specifier
    return canonicalize_name(requirement.name), versions


def _fits(file: IndexFile, versions: SpecifierSet, target: Target) -> bool:
    pinned = any(one.operator in {"==", "==="} for one in versions)
    if file.yanked and not pinned:
        return False
    if file.version.is_prerelease and not (pinned or versions.prereleases):
        return False
    if not versions.contains(file.version, prereleases=True):
        return False
    return _takes(file.requires_python, Version(f"{target.python}.50"))


def _takes(specifier: str | None, python: Version) -> bool:
    try:
        return specifier is None or SpecifierSet(specifier).contains(python)
    except InvalidSpecifier:
        return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
