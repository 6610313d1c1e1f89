"""Debian's apt as the builder uses it: run from the base itself, with lists and archives that are kept.

Packages are looked up and fetched with a network, and no code of theirs runs; their scripts run later,
without a network (`install`). Nothing is believed that the operator's keys do not sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.process import Bounds, Finished, ProcessTimeout
from vitrine_builder.progress import Report, Step, silent
from vitrine_builder.system.container import Container, Folder
from vitrine_builder.system.explain import explain_apt
from vitrine_builder.system.sources import Sources
from vitrine_builder.system.turn import turn

_AT = "/run/apt"
_OPTIONS = {
    "Dir::Etc::sourcelist": f"{_AT}/sources/sources.list",
    "Dir::Etc::sourceparts": "-",
    "Dir::State::lists": f"{_AT}/lists",
    "Dir::Cache": f"{_AT}/cache",
    "Dir::Cache::archives": f"{_AT}/archives",
    # There is one user in the container; apt would become another one to fetch.
    "APT::Sandbox::User": "root",
    # A name is a name: neither a pattern nor the start of one.
    "APT::Cmd::Pattern-Only": "true",
    "APT::Install-Recommends": "false",
    "APT::Status-Fd": "9",
    "APT::Update::Error-Mode": "any",
    "Acquire::ForceHash": "SHA256",
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "30",
    "Acquire::https::Timeout": "30",
    "DPkg::Use-Pty": "0",
}
_INSTALL = (
    *("-o", "DPkg::Options::=--force-unsafe-io"),
    *("-o", "DPkg::Options::=--force-confdef", "-o", "DPkg::Options::=--force-confold"),
)
# Not 2 itself: apt closes this one to what it starts, and a script that asks questions needs an stderr.
_STATUS_TO_STDERR = ("/bin/bash", "-c", 'exec 9>&2; exec "$@"', "bash")
_FETCHED = re.compile(
    r"^'[^']*' (?P<file>(?P<name>[^_\s]+)_(?P<version>[^_\s]+)_[^_\s]+\.deb) (?P<size>\d+) (?P<hash>\S*)$"
)
_STATUS = re.compile(r"^(?:dlstatus|pmstatus|pmerror|pmconffile):[^:]*:(?P<percent>[0-9.]+):(?P<text>.*)$")


@dataclass(frozen=True)
class SystemPackage:
    """One Debian package: name, version, the digest `sha256:…` of its archive, that file's name and size."""

    name: str
    version: str
    digest: str
    file: str = field(compare=False)
    size: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        """The package as apt takes it."""
        return f"{self.name}={self.version}"


@dataclass(frozen=True)
class Apt:
    """Lists, archives and installs packages for the releases of one set of sources.

    Attributes:
        directory: where lists and archives are kept; builders may share it.
        max_age: seconds for which lists are used before they are fetched again.
        proxies: the operator's proxy settings as environment variables.
    """

    container: Container
    directory: Path
    sources: Sources
    bounds: Bounds
    max_age: float
    proxies: Mapping[str, str] = field(default_factory=dict)

    async def index(self, base: Path, report: Report = silent) -> str:
        """Fetch the lists of packages unless they are fresh; return the digest of their state.

        Raises:
            BuildFailure: a source is unreachable, or not signed with the operator's keys.
        """
        self.require_sources()
        async with self._alone():
            fresh = 0 <= time.time() - self._stamp() < self.max_age
            if not fresh:
                report(Step("system", "Fetching the lists of Debian packages"))
                finished = await self._run(base, ["update"], network=True)
                self._require(finished, ())
                (self._place / "stamp").write_text(str(time.time()))
            return self._state()

    async def resolve(
        self, base: Path, wanted: Sequence[str], action: str = "install"
    ) -> tuple[SystemPackage, ...]:
        """Return what installing `wanted` on `base` brings along, in the order of names.

        Raises:
            BuildFailure: a package or version is not there, or packages contradict each other.
        """
        async with self._alone():
            command = [action, "--print-uris", "-y", "-q", "-o", f"Dir::Cache::archives={_AT}/none"]
            finished = await self._run(base, [*command, "-o", "Debug::NoLocking=1", "--", *wanted])
            if finished.returncode:
                raise await self._explain(base, finished, wanted)
        found = [_package(match) for line in _lines(finished) if (match := _FETCHED.match(line))]
        return tuple(sorted(found, key=lambda package: package.name))

    async def fetch(
        self, base: Path, packages: Sequence[SystemPackage], into: Path, report: Report = silent
    ) -> None:
        """Put the archives of `packages` into `into`, from the builder's own store where it has them.

        Raises:
            BuildFailure: one cannot be had, or is not what its list says.
        """
        async with self._alone():
            archives = self._place / "archives"
            missing = [each for each in packages if not await asyncio.to_thread(_is_there, archives, each)]
            if missing:
                total = sum(each.size for each in missing)
                report(Step("system", f"Fetching {len(missing)} Debian packages", 0, total, "bytes"))
                command = ["install", "--download-only", "-y", "-q", "--", *(each.text for each in missing)]
                news = _telling(report)
                self._require(await self._run(base, command, network=True, on_line=news), missing)
            for package in packages:
                if not await asyncio.to_thread(_is_there, archives, package):
                    sentence = f"The archive of `{package.text}` is not what its list says; try again later."
                    raise BuildFailure(FailureReason.HASH_MISMATCH, sentence, package.text)
                os.link(archives / package.file, into / package.file)

    async def install(
        self, tree: Path, packages: Sequence[SystemPackage], archives: Path, report: Report = silent
    ) -> None:
        """Install `packages` from `archives` into `tree`: without a network, and with nothing else in sight.

        Raises:
            BuildFailure: a package's script failed or did not end, or the disk is full.
        """
        command = ["install", "-y", "-q", "--no-download", *_INSTALL, "--", *(p.text for p in packages)]
        lists = archives.with_name("lists")
        async with self._alone():
            await asyncio.to_thread(_link_files, self._place / "lists", lists)
        self.container.own(lists, archives)
        finished = await self._run(
            tree, command, writable=True, archives=archives, lists=lists, on_line=_telling(report)
        )
        self._require(finished, packages)

    def require_sources(self) -> None:
        """Check that there is somewhere to take packages from.

        Raises:
            BuildFailure: there is not, and what to set.
        """
        if not self.sources.entries:
            sentence = (
                f"This platform knows no source of Debian packages for {self.sources.release}; the operator "
                "sets VITRINE_BUILDER_APT_SOURCES."
            )
            raise BuildFailure(FailureReason.INTERNAL, sentence)

    @property
    def _place(self) -> Path:
        text = self.sources.to_text("keys" if self.sources.keyring else None)
        return self.directory / hashlib.sha256(text.encode()).hexdigest()[:32]

    def _stamp(self) -> float:
        try:
            return float((self._place / "stamp").read_text())
        except (FileNotFoundError, ValueError):
            return 0.0

    def _state(self) -> str:
        digest = hashlib.sha256()
        for file in sorted((self._place / "lists").glob("*Release")):
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only user of the lists and archives, across builders."""
        for folder in (
            self._place,
            *(self._place / name for name in ("lists", "archives", "cache", "sources")),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            self.container.own(folder)
        async with turn(self._place / "lock"):
            yield

    async def _run(
        self,
        tree: Path,
        command: Sequence[str],
        *,
        network: bool = False,
        writable: bool = False,
        archives: Path | None = None,
        lists: Path | None = None,
        program: str = "apt-get",
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> Finished:
        options = {**_OPTIONS, **({"Acquire::Check-Valid-Until": "false"} if self.sources.snapshot else {})}
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        try:
            return await self.container.run(
                tree,
                [*_STATUS_TO_STDERR, program, *flags, *command],
                bounds=self.bounds,
                folders=self._folders(archives, lists),
                network=network,
                read_only=not writable,
                environment=self.proxies if network else None,
                on_line=on_line,
            )
        except ProcessTimeout:
            what = "Installing Debian packages" if writable else "Fetching Debian packages"
            sentence = f"{what} took longer than {self.bounds.seconds:g} seconds; try again later."
            raise BuildFailure(FailureReason.TIMEOUT, sentence) from None

    def _folders(self, archives: Path | None, lists: Path | None) -> list[Folder]:
        place = self._place
        keyring = self.sources.keyring
        text, shown = self._local_sources(f"{_AT}/keys{keyring.suffix}" if keyring else None)
        draft = place / "sources" / f".{os.getpid()}.{time.monotonic_ns()}"
        draft.write_text(text)
        draft.replace(place / "sources" / "sources.list")
        if keyring is not None:
            shown.append(Folder(keyring, f"{_AT}/keys{keyring.suffix}", writable=False))
        return [
            Folder(lists or place / "lists", f"{_AT}/lists"),
            Folder(archives or place / "archives", f"{_AT}/archives"),
            *([] if lists else [Folder(place / "cache", f"{_AT}/cache")]),
            Folder(place / "sources", f"{_AT}/sources", writable=False),
            *shown,
        ]

    def _local_sources(self, keyring: str | None) -> tuple[str, list[Folder]]:
        """Return the `sources.list`, and folders that addresses of this host's files are shown at."""
        text, shown = self.sources.to_text(keyring), list[Folder]()
        for number, entry in enumerate(self.sources.entries):
            scheme, _, path = entry.uri.partition(":")
            if scheme in {"file", "copy"}:
                inside = f"{_AT}/local{number}"
                shown.append(Folder(Path("/" + path.lstrip("/")), inside, writable=False))
                text = text.replace(f" {entry.uri} ", f" copy:{inside} ")
        return text, shown

    def _require(self, finished: Finished, packages: Sequence[SystemPackage]) -> None:
        if finished.returncode:
            raise explain_apt(_said(finished), [package.name for package in packages])

    async def _explain(self, base: Path, finished: Finished, wanted: Sequence[str]) -> BuildFailure:
        async def ask(*words: str) -> list[str]:
            return _lines(await self._run(base, words, program="apt-cache"))

        failure = explain_apt(_said(finished), wanted)
        if failure.reason is FailureReason.NO_SUCH_PACKAGE and failure.culprit:
            return failure.naming(await ask("pkgnames"))
        if failure.reason is FailureReason.NO_SUCH_VERSION and failure.culprit:
            rows = await ask("madison", failure.culprit.partition("=")[0])
            return failure.offering([row.split("|")[1].strip() for row in rows if row.count("|") > 1])
        return failure


def to_json(packages: Sequence[SystemPackage]) -> str:
    """Return `packages` as text for `from_json`."""
    return json.dumps([[p.name, p.version, p.digest, p.file, p.size] for p in packages])


def from_json(text: bytes) -> tuple[SystemPackage, ...]:
    """Return what `to_json` described; raises ValueError or TypeError for anything else."""
    return tuple(SystemPackage(*entry) for entry in json.loads(text))


def _package(match: re.Match[str]) -> SystemPackage:
    kind, _, value = match["hash"].partition(":")
    if kind != "SHA256":
        sentence = f"The package source gives no SHA-256 of `{match['name']}`; tell the operator."
        raise BuildFailure(FailureReason.INTERNAL, sentence, match["name"])
    version = unquote(match["version"])
    return SystemPackage(match["name"], version, f"sha256:{value}", match["file"], int(match["size"]))


def _is_there(archives: Path, package: SystemPackage) -> bool:
    file = archives / package.file
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as content:
        if f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}" == package.digest:
            return True
    file.unlink()
    return False


def _link_files(source: Path, place: Path) -> None:
    place.mkdir()
    for file in source.iterdir():
        if file.is_file() and file.name != "lock":
            os.link(file, place / file.name)


def _lines(finished: Finished) -> list[str]:
    return finished.stdout.decode(errors="replace").splitlines()


def _said(finished: Finished) -> str:
    """Return what apt told on either stream, in the order of a terminal as well as that is known."""
    told = [line for line in finished.stderr.splitlines() if not _STATUS.match(line)]
    return "\n".join([*_lines(finished)[-200:], *told])


def _telling(report: Report) -> Callable[[str], None]:
    """Return a listener that turns apt's status lines into news."""

    def listen(line: str) -> None:
        if match := _STATUS.match(line):
            percent = int(float(match["percent"]))
            report(Step("system", match["text"].strip()[:200], percent, 100))

    return listen
