"""What the front matter of a model card says, as a table of facts and one of results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CardFact:
    """One fact in words; `items` are shown as tags."""

    title: str
    items: tuple[str, ...]
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class CardResult:
    """One number that the card reports."""

    task: str
    dataset: str
    metric: str
    value: str


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that is read of a front matter."""

    facts: tuple[CardFact, ...] = ()
    results: tuple[CardResult, ...] = ()
    samples: tuple[str, ...] = ()
    """Texts to try, for the first text field."""

    def __bool__(self) -> bool:
        return bool(self.facts or self.results)
