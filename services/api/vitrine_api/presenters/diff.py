"""How one version differs from another, for its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitrine_api import formats, views
from vitrine_api.diff import ClaimChange, DiffOut, FileChange
from vitrine_api.environments import EnvironmentDiffOut
from vitrine_api.presenters.models import version_url
from vitrine_common.documents import Version

_OPEN_LINES = 80
_KINDS = {"+": "add", "-": "drop", "@": "place"}


def diff_view(found: DiffOut, before: Version, after: Version, known: Sequence[Version]) -> views.Diff:
    """Return the page of a difference."""
    return views.Diff(
        title=before.model,
        model_url=f"/models/{before.owner}/{before.model}",
        before=str(before.number),
        after=str(after.number) if after.model_id == before.model_id else after.reference,
        before_reference=found.before,
        after_reference=found.after,
        before_url=version_url(before),
        after_url=version_url(after),
        same=found.same,
        versions=tuple(str(version.number) for version in known),
        files=tuple(_file(one) for one in found.files),
        file_changes=found.file_changes,
        spec=_values((one.name, one.before, one.after) for one in found.spec),
        packages=_packages(found.environment),
        environment=_environment_words(found.environment),
        metrics=_values((one.name, one.before, one.after) for one in found.metrics),
        claims=tuple(_claim(one) for one in found.claims),
    )


def _file(one: FileChange) -> views.DiffFile:
    lines = tuple(views.DiffLine(kind=_KINDS.get(line[:1], "same"), text=line) for line in one.lines or ())
    notes = [one.note]
    if one.executable is not None:
        notes.append("now executable" if one.executable else "no longer executable")
    return views.DiffFile(
        kind=one.kind,
        path=one.path,
        moved_from=one.moved_from or "",
        size_before=one.size_before,
        size_after=one.size_after,
        lines=lines,
        note="; ".join(note for note in notes if note),
        is_open=one.kind == "changed" and 0 < len(lines) <= _OPEN_LINES,
    )


def _values(changes: Iterable[tuple[str, str | None, str | None]]) -> tuple[views.DiffValue, ...]:
    return tuple(
        views.DiffValue(name=name, before=before or "", after=after or "") for name, before, after in changes
    )


def _packages(found: EnvironmentDiffOut | None) -> tuple[views.DiffValue, ...]:
    if found is None:
        return ()
    changes = [found.python, *found.packages, *found.system]
    return _values((one.name, one.before, one.after) for one in changes if one is not None)


def _environment_words(found: EnvironmentDiffOut | None) -> str:
    if found is None:
        return ""
    if found.same:
        return "The same environment, to the byte."
    return (
        f"{formats.size(found.shared_bytes)} of layers are shared; {formats.size(found.added_bytes)} came, "
        f"{formats.size(found.removed_bytes)} went."
    )


def _claim(one: ClaimChange) -> views.DiffValue:
    return views.DiffValue(
        name=one.name,
        before=_claim_words(one.expected_before, one.measured_before, one.verdict_before),
        after=_claim_words(one.expected_after, one.measured_after, one.verdict_after),
    )


def _claim_words(expected: float | None, measured: float | None, verdict: str | None) -> str:
    if expected is None:
        return ""
    words = f"claimed {formats.number(expected)}"
    if measured is not None:
        words += f", measured {formats.number(measured)}"
    return f"{words}: {formats.state(verdict).lower()}" if verdict else f"{words}, not checked"
