"""Text outputs of a run, printed while they are made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vitrine.cli import formats, progress

if TYPE_CHECKING:
    from vitrine.results import Output, Run
    from vitrine.sse import ServerEvent


class Streamed:
    """Prints the pieces of one text output; what several outputs stream is shown at the end instead.

    Pieces go to standard output as they come, so that they can be piped.
    """

    def __init__(self, shown: progress.Steps) -> None:
        self._shown = shown
        self._name: str | None = None
        self._printed = ""

    def hear(self, event: ServerEvent) -> None:
        """Show one event of a run."""
        pieces = event.json().get("outputs") if event.name == "progress" else None
        if pieces:
            self._take(pieces)
        elif self._name is None:
            progress.work_step(self._shown, event, with_log=False)

    def rest(self, run: Run) -> Sequence[Output]:
        """Print what of the streamed output is still missing; return the outputs that are left to show."""
        if self._name is None:
            return run.outputs
        left = [output for output in run.outputs if output.name != self._name]
        value = next((output.value for output in run.outputs if output.name == self._name), None)
        if isinstance(value, str) and value.startswith(self._printed):
            _write(value[len(self._printed) :] + ("" if value.endswith("\n") else "\n"))
            return left
        _write("\n")
        return run.outputs

    def _take(self, pieces: Sequence[dict[str, Any]]) -> None:
        for piece in pieces:
            is_first = self._name is None and piece["start"] == 0
            if is_first:
                self._name = str(piece["name"])
                self._shown.stop()
            if piece["name"] == self._name and piece["start"] == len(self._printed):
                self._printed += str(piece["text"])
                _write(str(piece["text"]))


def _write(text: str) -> None:
    sys.stdout.write(formats.harmless(text))
    sys.stdout.flush()
