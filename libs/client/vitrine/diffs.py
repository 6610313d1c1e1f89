"""How one version differs from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitrine.environments import EnvironmentDiff
from vitrine.results import Result

if TYPE_CHECKING:
    from vitrine.references import Reference
    from vitrine.transport import Transport


class FileChange(Result):
    """A file that differs: `added`, `removed`, `changed` or `moved`; `lines` is a unified diff."""

    kind: str
    path: str
    moved_from: str | None = None
    size_before: int | None = None
    size_after: int | None = None
    executable: bool | None = None
    lines: tuple[str, ...] | None = None
    note: str = ""


class ValueChange(Result):
    """A value that differs; None where it is not there."""

    name: str
    before: str | None = None
    after: str | None = None


class ClaimChange(Result):
    """A claim whose expected or last measured number differs."""

    name: str
    expected_before: float | None = None
    expected_after: float | None = None
    measured_before: float | None = None
    measured_after: float | None = None
    verdict_before: str | None = None
    verdict_after: str | None = None


class Diff(Result):
    """How `after` differs from `before`; `environment` is None unless both have one."""

    before: str
    after: str
    same: bool
    files: tuple[FileChange, ...] = ()
    file_changes: int = 0
    spec: tuple[ValueChange, ...] = ()
    environment: EnvironmentDiff | None = None
    metrics: tuple[ValueChange, ...] = ()
    claims: tuple[ClaimChange, ...] = ()


def diff(transport: Transport, before: Reference, after: Reference) -> Diff:
    """Return how a version differs from another. Raises a `vitrine.errors.ClientError`."""
    found = transport.call("GET", f"/versions/{before.path}/diff", params={"to": str(after)})
    return Diff.model_validate(found)
