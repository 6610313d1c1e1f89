"""How one version differs from another: files, specification, environment, metrics and claims.

Files are compared by digest; their text is read only where both sides are short and it can be shown.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from vitrine_api.claims.checks import Checks, claims_of
from vitrine_api.environments import EnvironmentDiffOut, Environments, compare
from vitrine_api.models import Models
from vitrine_api.policy import Action, Member, require
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.documents import Version
from vitrine_common.spec import Claim

MAX_TEXT_BYTES = 200_000
"""Longest file whose lines are compared."""
MAX_TEXTS = 50
"""Most files whose lines are compared, the first ones by path."""
MAX_LINES = 2000
MAX_FILES = 1000
"""Most files that are named; their number is told in any case."""
_AT_ONCE = 8

FileKind = Literal["added", "removed", "changed", "moved"]


class FileChange(BaseModel):
    """A file that differs. `lines` is a unified diff, without its first two lines."""

    kind: FileKind
    path: str
    moved_from: str | None = None
    size_before: int | None = None
    size_after: int | None = None
    digest_before: str | None = None
    digest_after: str | None = None
    executable: bool | None = Field(default=None, description="What it is now, where that has changed.")
    lines: list[str] | None = None
    note: str = Field(default="", description="Why there are no lines, or not all.")


class ValueChange(BaseModel):
    """A value that differs; None where it is not there."""

    name: str
    before: str | None
    after: str | None


class ClaimChange(BaseModel):
    """What is claimed and what was measured last, where either differs."""

    name: str
    expected_before: float | None
    expected_after: float | None
    measured_before: float | None
    measured_after: float | None
    verdict_before: str | None
    verdict_after: str | None


class DiffOut(BaseModel):
    """How the version `after` differs from `before`."""

    before: str
    after: str
    same: bool
    files: list[FileChange]
    file_changes: int = Field(description="Of how many files; the first thousand are listed.")
    spec: list[ValueChange]
    environment: EnvironmentDiffOut | None = Field(description="None unless both environments exist.")
    metrics: list[ValueChange]
    claims: list[ClaimChange]


class Diffs:
    """Compares versions that a member may open.

    Args:
        models: reads manifests.
        blobs: the files' bytes.
        environments: what the versions run in.
        checks: what was measured of their claims.
    """

    def __init__(self, models: Models, blobs: BlobStore, environments: Environments, checks: Checks) -> None:
        self._models = models
        self._blobs = blobs
        self._environments = environments
        self._checks = checks

    async def compare(self, member: Member, before: Version, after: Version) -> DiffOut:
        """Return how `after` differs from `before`. Raises NotFound for what is not the member's to open."""
        for version in (before, after):
            require(member, Action.OPEN, version)
        old, new = await asyncio.gather(self._models.manifest(before), self._models.manifest(after))
        files = changed_files(old, new)
        claims, environment, _ = await asyncio.gather(
            self._claims(member, before, after),
            self._environment(before, after),
            self._add_lines(files),
        )
        lineages = [version.lineage.metrics if version.lineage else {} for version in (before, after)]
        return DiffOut(
            before=before.reference,
            after=after.reference,
            same=before.digest == after.digest,
            files=files[:MAX_FILES],
            file_changes=len(files),
            spec=changed_values(flat(old.spec), flat(new.spec)),
            environment=environment,
            metrics=changed_values(
                *({key: f"{value:g}" for key, value in found.items()} for found in lineages)
            ),
            claims=claims,
        )

    async def _environment(self, before: Version, after: Version) -> EnvironmentDiffOut | None:
        old, new = await asyncio.gather(self._environments.find(before), self._environments.find(after))
        return compare(old, new) if old is not None and new is not None else None

    async def _claims(self, member: Member, before: Version, after: Version) -> list[ClaimChange]:
        old, new = await asyncio.gather(self._measured(member, before), self._measured(member, after))
        found = []
        for name in sorted(old.keys() | new.keys()):
            (was, measured_was, said), (is_, measured_is, says) = (
                old.get(name, _NOTHING),
                new.get(name, _NOTHING),
            )
            if (was, measured_was, said) != (is_, measured_is, says):
                found.append(
                    ClaimChange(
                        name=name,
                        expected_before=was,
                        expected_after=is_,
                        measured_before=measured_was,
                        measured_after=measured_is,
                        verdict_before=said,
                        verdict_after=says,
                    )
                )
        return found

    async def _measured(
        self, member: Member, version: Version
    ) -> dict[str, tuple[float | None, float | None, str | None]]:
        """Return by claim: what is expected, what was measured last, and the verdict."""
        claims: Sequence[Claim] = claims_of(version)
        if not claims:
            return {}
        tallies = await self._checks.tallies(member, version)
        last = await self._checks.last_verdicts(version, tallies)
        return {
            claim.name: (
                claim.expected,
                last[claim.name].measured if claim.name in last else None,
                last[claim.name].state.value if claim.name in last else None,
            )
            for claim in claims
        }

    async def _add_lines(self, files: Iterable[FileChange]) -> None:
        """Write the lines of short texts into `files`."""
        readable = [one for one in files if one.kind != "moved"]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def add(one: FileChange) -> None:
            async with gate:
                before, after = await asyncio.gather(
                    self._text(one.digest_before, one.size_before),
                    self._text(one.digest_after, one.size_after),
                )
            await asyncio.to_thread(add_lines, one, before, after)

        await asyncio.gather(*(add(one) for one in readable[:MAX_TEXTS]))
        for one in readable[MAX_TEXTS:]:
            one.note = f"lines are shown for {MAX_TEXTS} files only"

    async def _text(self, digest: str | None, size: int | None) -> str | None:
        """Return a text; empty where there is no file, None where its lines cannot be shown."""
        if digest is None:
            return ""
        if size is None or size > MAX_TEXT_BYTES:
            return None
        data = await self._blobs.get_bytes(digest, MAX_TEXT_BYTES)
        try:
            return None if b"\0" in data else data.decode()
        except UnicodeDecodeError:
            return None


_NOTHING: tuple[float | None, float | None, str | None] = (None, None, None)


def changed_files(before: Manifest, after: Manifest) -> list[FileChange]:
    """Return the files that differ, by path; a file of the same bytes under another path was moved."""
    old = {entry.path: entry for entry in before.files}
    new = {entry.path: entry for entry in after.files}
    gone = {entry.digest: entry for path, entry in old.items() if path not in new}
    found: list[FileChange] = []
    moved: set[str] = set()
    for path, entry in new.items():
        if path in old:
            if (old[path].digest, old[path].executable) != (entry.digest, entry.executable):
                found.append(_changed(old[path], entry))
        elif (source := gone.get(entry.digest)) is not None and source.path not in moved:
            moved.add(source.path)
            found.append(_change("moved", source, entry, moved_from=source.path))
        else:
            found.append(_change("added", None, entry))
    found += [_change("removed", old[path], None) for path in old if path not in new and path not in moved]
    return sorted(found, key=lambda one: one.path)


def _changed(before: FileEntry, after: FileEntry) -> FileChange:
    flipped = after.executable if after.executable is not before.executable else None
    return _change("changed", before, after, executable=flipped)


def _change(kind: FileKind, before: FileEntry | None, after: FileEntry | None, **more: Any) -> FileChange:
    entry = after or before
    assert entry is not None
    return FileChange(
        kind=kind,
        path=entry.path,
        size_before=before.size if before else None,
        size_after=after.size if after else None,
        digest_before=before.digest if before else None,
        digest_after=after.digest if after else None,
        **more,
    )


def add_lines(change: FileChange, before: str | None, after: str | None) -> None:
    """Write the unified diff of two texts into `change`, or why there is none."""
    if before is None or after is None:
        sizes = [size for size in (change.size_before, change.size_after) if size is not None]
        change.note = "too long to show" if max(sizes) > MAX_TEXT_BYTES else "not a text"
        return
    if before == after:
        return
    lines = _unified(before.splitlines(), after.splitlines())
    change.lines = [line for line, _ in zip(lines, range(MAX_LINES + 1), strict=False)]
    if not change.lines:
        change.lines, change.note = None, "only line endings differ"
    elif len(change.lines) > MAX_LINES:
        change.lines.pop()
        change.note = f"the first {MAX_LINES} lines"


def _unified(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    lines = difflib.unified_diff(before, after, lineterm="")
    for index, line in enumerate(lines):
        if index >= 2:  # the names of the files stand beside it
            yield line


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Return the leaves of a JSON value by their place, such as `inputs.image.max`.

    Entries of lists that have a name stand under it, others under their number.
    """
    match value:
        case dict():
            parts = [(str(key), part) for key, part in value.items()]
        case list():
            parts = [(_name_of(part, index), part) for index, part in enumerate(value)]
        case bool():
            return {name: "true" if value else "false"}
        case None:
            return {}
        case _:
            return {name: str(value)}
    found: dict[str, str] = {}
    for key, part in parts:
        found |= flat(part, f"{name}.{key}" if name else key)
    return found


def _name_of(part: Any, index: int) -> str:
    named = isinstance(part, dict) and isinstance(part.get("name"), str)
    return str(part["name"]) if named else str(index)


def changed_values(before: Mapping[str, str], after: Mapping[str, str]) -> list[ValueChange]:
    """Return the values that differ, by name."""
    return [
        ValueChange(name=name, before=before.get(name), after=after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
