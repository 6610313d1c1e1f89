"""What outputs of a run hold while it goes on, as far as news tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitrine_api import views
from vitrine_common.spec import Spec

SHOWN = 20_000
"""Characters of each output that are shown while it grows; the result has all of them."""
MISSED = "…"


class Streamed:
    """Text by output, put together from the pieces of news; whoever comes late misses the beginning.

    Args:
        spec: says how outputs are called; None where that is gone.
    """

    def __init__(self, spec: Spec | None) -> None:
        outputs = spec.effective_outputs() if spec else []
        self._titles = {item.name: item.title for item in outputs}
        self._known: dict[str, str] = {}
        self._lengths: dict[str, int] = {}

    def take(self, news: Mapping[str, Any]) -> None:
        """Take the pieces of one message."""
        for piece in news.get("outputs") or ():
            name, start, text = str(piece["name"]), int(piece["start"]), str(piece["text"])
            missed = MISSED if start > self._lengths.get(name, 0) else ""
            self._known[name] = (self._known.get(name, "") + missed + text)[-SHOWN:]
            self._lengths[name] = start + len(text)

    def views(self) -> tuple[views.StreamedText, ...]:
        """Return what is shown now."""
        return tuple(
            views.StreamedText(title=self._titles.get(name, name), text=text)
            for name, text in self._known.items()
        )
