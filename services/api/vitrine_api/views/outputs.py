"""The outputs of a run, one class per output type: each is shown as what it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

MAX_TREE_NODES = 2_000
MAX_TREE_DEPTH = 24
MAX_TEXT = 200_000


@dataclass(frozen=True, kw_only=True)
class OutputView:
    """What every output has."""

    kind: ClassVar[str]

    name: str
    title: str
    description: str = ""
    url: str | None = None
    """Where its bytes are served, where it is stored as a file."""


@dataclass(frozen=True, kw_only=True)
class TextOutput(OutputView):
    """Text; more than 200,000 characters are cut on the page."""

    kind: ClassVar[str] = "text"

    text: str

    @property
    def shown(self) -> str:
        """Return what the page shows."""
        return self.text[:MAX_TEXT]

    @property
    def is_cut(self) -> bool:
        """Tell whether the page shows less than all."""
        return len(self.text) > MAX_TEXT


@dataclass(frozen=True, kw_only=True)
class NumberOutput(OutputView):
    """One number."""

    kind: ClassVar[str] = "number"

    value: float


@dataclass(frozen=True, kw_only=True)
class ImageOutput(OutputView):
    """A picture, served from `url`."""

    kind: ClassVar[str] = "image"

    url: str
    filename: str
    size: int
    """Bytes."""
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, kw_only=True)
class LabelOutput(OutputView):
    """One class name."""

    kind: ClassVar[str] = "label"

    label: str


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """A class name and its probability, from 0 to 1."""

    label: str
    score: float

    @property
    def share(self) -> float:
        """Return the length of the bar, from 0 to 100, whatever the model returned."""
        return round(min(max(self.score, 0.0), 1.0) * 100, 2) if self.score == self.score else 0.0


@dataclass(frozen=True, kw_only=True)
class LabelsOutput(OutputView):
    """Class names with probabilities, shown as bars, most probable first."""

    kind: ClassVar[str] = "labels"

    scores: tuple[LabelScore, ...]

    @property
    def ranked(self) -> list[LabelScore]:
        """Return the scores, largest first."""
        return sorted(self.scores, key=lambda item: -item.score)

    @property
    def is_short(self) -> bool:
        """Tell whether all names fit in a narrow column."""
        return all(len(item.label) <= 16 for item in self.scores)


@dataclass(frozen=True, kw_only=True)
class JsonOutput(OutputView):
    """A JSON value, shown as a tree that folds."""

    kind: ClassVar[str] = "json"

    value: Any

    @property
    def text(self) -> str:
        """Return the value as indented JSON text, cut like `TextOutput`."""
        return json.dumps(self.value, ensure_ascii=False, indent=2)[:MAX_TEXT]

    @property
    def is_tree(self) -> bool:
        """Tell whether the value is small and flat enough to be shown as a tree."""
        return isinstance(self.value, dict | list) and _count_nodes(self.value) <= MAX_TREE_NODES


@dataclass(frozen=True, kw_only=True)
class FileOutput(OutputView):
    """A file to download from `url`."""

    kind: ClassVar[str] = "file"

    url: str
    filename: str
    size: int
    media_type: str = "application/octet-stream"

    @property
    def player(self) -> str:
        """Return how it is played: `audio`, `video`, or not at all."""
        kind = self.media_type.partition("/")[0]
        return kind if kind in {"audio", "video"} else ""

    @property
    def is_table(self) -> bool:
        """Tell whether its first rows can be shown."""
        return self.media_type in {"text/csv", "text/tab-separated-values"}


AnyOutput = TextOutput | NumberOutput | ImageOutput | LabelOutput | LabelsOutput | JsonOutput | FileOutput


def _count_nodes(value: Any) -> int:
    """Count the values inside `value`; stops above the limit, and a value nested too deep is above it."""
    level, count, depth = [value], 0, 0
    while level and count <= MAX_TREE_NODES:
        depth += 1
        if depth > MAX_TREE_DEPTH:
            return MAX_TREE_NODES + 1
        count += len(level)
        groups = [
            part.values() if isinstance(part, dict) else part
            for part in level
            if isinstance(part, dict | list)
        ]
        level = [child for group in groups for child in group]
    return count
