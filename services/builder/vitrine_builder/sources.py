"""Where packages come from, as uv is told: the operator's indexes, written into a configuration of our own.

Two things are better said in a file than in variables. Answers of an index are taken as fresh for a while, so
that adding one package to a list asks for one page and not for all. And local folders of wheels become an
index with hashes: uv hashes every wheel of a plain folder at every resolution, however large it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitrine_builder.failures import disk_errors
from vitrine_builder.simple_index import SimpleIndexes, name_and_version
from vitrine_builder.uv import Uv

_INDEX_VARIABLES = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS")
_ANY_INDEX = "unsafe-best-match"
_ARCHIVES = (".whl", ".tar.gz", ".zip")
UNBELIEVING = "uv-fresh.toml"
"""Beside the configuration: the same, but nothing is taken as fresh; uv lets that rule over `--refresh`."""
_STABLE = "max-age=31536000, immutable"


@dataclass
class LocalLinks:
    """Folders of wheels as one index at `directory`.

    `memory` remembers hashes by path, size and time of change; builders that share it may write it at once,
    and lose no more than the work of hashing a file again.
    """

    folders: Sequence[Path]
    directory: Path
    memory: Path
    _state: str = ""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refresh(self) -> str:
        """Bring the index up to date with the folders; return a digest of what they hold.

        Raises:
            BuildFailure: the disk is full.
        """
        if not self.folders:
            return ""
        async with self._lock:
            with disk_errors():
                return await asyncio.to_thread(self._refresh)

    def _refresh(self) -> str:
        listing = [
            (str(path), status.st_size, status.st_mtime_ns)
            for folder in self.folders
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if path.name.endswith(_ARCHIVES) and path.is_file() and (status := path.stat())
        ]
        state = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
        if state != self._state:
            self._write(listing)
            self._state = state
        return state

    def _write(self, listing: list[tuple[str, int, int]]) -> None:
        known = self._remembered()
        hashes = {}
        pages: dict[str, list[str]] = {}
        for path, size, changed in listing:
            key = json.dumps([path, size, changed])
            hashes[key] = known.get(key) or _sha256(Path(path))
            named = name_and_version(Path(path).name)
            if named is None:
                continue
            href = html.escape(f"{Path(path).as_uri()}#sha256={hashes[key]}")
            pages.setdefault(named[0], []).append(f'<a href="{href}">{html.escape(Path(path).name)}</a>')
        for folder in self.directory.iterdir() if self.directory.is_dir() else ():
            if folder.name not in pages:
                shutil.rmtree(folder, ignore_errors=True)
        for name, links in pages.items():
            place = self.directory / name / "index.html"
            place.parent.mkdir(parents=True, exist_ok=True)
            _replace(place, "<!DOCTYPE html><html><body>\n{}\n</body></html>\n".format("\n".join(links)))
        if hashes != known:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            _replace(self.memory, json.dumps(hashes))

    def _remembered(self) -> dict[str, str]:
        try:
            known = json.loads(self.memory.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


@dataclass(frozen=True)
class Sources:
    """The operator's indexes: for uv as a configuration, for questions of our own as addresses."""

    config: Path | None
    environment: Mapping[str, str] = field(repr=False)
    indexes: SimpleIndexes
    links: LocalLinks

    def tell(self, uv: Uv) -> Uv:
        """Return `uv` with these sources."""
        return replace(uv, environment=self.environment, config=self.config)


async def open_sources(uv: Uv, directory: Path, memory: Path, max_age_seconds: float) -> Sources:
    """Return the sources that `uv.environment` names, with their files in the private folder `directory`.

    Answers of an index are believed for `max_age_seconds`, whatever the index says about it.

    Raises:
        BuildFailure: uv cannot be asked for its own default.
    """
    given = dict(uv.environment)
    if "UV_OFFLINE" in given:
        return Sources(None, given, SimpleIndexes((), given), LocalLinks((), directory, memory))
    named = [entry for variable in _INDEX_VARIABLES[:2] for entry in given.get(variable, "").split()]
    default = await _default_index(uv)
    places = [place for place in given.get("UV_FIND_LINKS", "").split(",") if place]
    folders = [Path(place.removeprefix("file://")) for place in places if _is_folder(place)]
    # Folders count as one more index; an operator who wants the first index to win keeps uv's own way.
    if given.get("UV_INDEX_STRATEGY", _ANY_INDEX if not named else "first-index") != _ANY_INDEX:
        folders = []
    rest = {name: value for name, value in given.items() if name not in _INDEX_VARIABLES}
    remote = [place for place in places if not (folders and _is_folder(place))]
    if remote:
        rest["UV_FIND_LINKS"] = ",".join(remote)
    links = LocalLinks(folders, directory / "links", memory)
    if folders:
        rest["UV_INDEX_STRATEGY"] = _ANY_INDEX
        named = [links.directory.as_uri(), *named]
    config = directory / "uv.toml"
    await asyncio.to_thread(links.directory.mkdir, parents=True, exist_ok=True)
    for place, age in ((config, max_age_seconds), (config.with_name(UNBELIEVING), None)):
        _replace(
            place,
            "\n".join([*(_index(entry, age) for entry in named), _index(default, age, is_default=True)]),
        )
    addresses = [_split(entry)[1] for entry in (*named, default)]
    return Sources(config, rest, SimpleIndexes(addresses, rest), links)


async def _default_index(uv: Uv) -> str:
    """Return the address of the index that uv asks where none else is set: what it says of itself."""
    told = await uv.pip("compile", ["--emit-index-url", "--no-header", "--quiet", "-"], "")
    return next(line.split()[1] for line in told.splitlines() if line.startswith("--index-url "))


def _is_folder(place: str) -> bool:
    return place.startswith("file://") or "://" not in place


def _split(entry: str) -> tuple[str, str]:
    """Return the name, if any, and the address of an index, as uv writes `name=https://…`."""
    name, equals, address = entry.partition("=")
    return (name, address) if equals and "/" not in name and ":" not in name else ("", entry)


def _index(entry: str, max_age_seconds: float | None, *, is_default: bool = False) -> str:
    name, address = _split(entry)
    lines = ["[[index]]", f"url = {json.dumps(address)}"]
    if name:
        lines.append(f"name = {json.dumps(name)}")
    if address.startswith(("http://", "https://")) and max_age_seconds is not None:
        age = f"max-age={int(max_age_seconds)}"
        lines.append(f'cache-control = {{ api = "{age}", files = "{_STABLE}" }}')
    return "\n".join([*lines, *(["default = true"] if is_default else []), ""])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(place: Path, text: str) -> None:
    """Write a file that others may read meanwhile; only its owner may, for addresses carry credentials."""
    draft = place.with_name(f".{place.name}.{os.getpid()}.new")
    draft.touch(0o600)
    draft.write_text(text)
    draft.replace(place)
