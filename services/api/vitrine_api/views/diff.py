"""How one version differs from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitrine_api.views.page import View


@dataclass(frozen=True, kw_only=True)
class DiffLine:
    """A line of a file: `kind` is `add`, `drop`, `same` or `place`."""

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DiffFile:
    """A file that differs."""

    kind: str
    """`added`, `removed`, `changed`, `moved`."""
    path: str
    moved_from: str = ""
    size_before: int | None = None
    size_after: int | None = None
    lines: tuple[DiffLine, ...] = ()
    note: str = ""
    is_open: bool = False


@dataclass(frozen=True, kw_only=True)
class DiffValue:
    """A value that differs; empty where it is not there."""

    name: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Diff(View):
    """`/models/{owner}/{name}/versions/{version}/diff`."""

    template: ClassVar[str] = "diff.html"

    title: str
    model_url: str
    before: str
    """The older version's number."""
    after: str
    before_reference: str
    after_reference: str
    before_url: str
    after_url: str
    same: bool = False
    versions: tuple[str, ...] = ()
    """Numbers of the model's versions, to choose others from."""
    files: tuple[DiffFile, ...] = ()
    file_changes: int = 0
    spec: tuple[DiffValue, ...] = ()
    packages: tuple[DiffValue, ...] = ()
    environment: str = ""
    """What the environments have in common, in words; empty where one is missing."""
    metrics: tuple[DiffValue, ...] = ()
    claims: tuple[DiffValue, ...] = ()

    @property
    def action(self) -> str:
        """Address of the form's page."""
        return f"{self.before_url}/diff"
