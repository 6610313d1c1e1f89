"""Receipts: the page that checks one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitrine_api.views.page import Fact, View


@dataclass(frozen=True, kw_only=True)
class NamedDigest:
    """One thing that a receipt names; `value` is its digest or, where that is not told, a commitment."""

    kind: str
    name: str
    value: str
    blind: bool = False
    opened: str | None = None
    """The digest that an opening showed the commitment to stand for."""
    matches: bool = False
    """Whether it is the file that was given."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of a receipt that was checked."""

    valid: bool
    title: str
    message: str
    facts: tuple[Fact, ...] = ()
    digests: tuple[NamedDigest, ...] = ()
    proven: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    file: str = ""
    """What the file that was given turned out to be, in a sentence."""
    file_matches: bool = False
    opening: str = ""
    """What the opening that was given turned out to be, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Verify(View):
    """The page where anybody checks a receipt."""

    template: ClassVar[str] = "verify.html"

    instance: str
    keys_url: str
    receipt: str = ""
    finding: Finding | None = None
    back_url: str | None = None
    """Where the run is whose receipt this is."""
