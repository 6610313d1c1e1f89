"""How long work goes on: bars for people, plain lines for logs; always on stderr."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from vitrine.cli import formats
from vitrine.cli.console import console, note

if TYPE_CHECKING:
    from vitrine.sse import ServerEvent

_TENTH = 10


def live() -> bool:
    """Tell whether a person looks at a terminal that can draw."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class PushProgress:
    """Shows a push: files read, then bytes sent. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read = 0
        self._total = 0
        self._sent = 0
        self._said = 0
        self._bar: Any = None
        self._task: Any = None

    def hashed(self, path: str, size: int) -> None:
        """Count a file that has been read."""
        self._read += 1
        self._show(f"Reading {path} ({formats.size(size)})", None)

    def warned(self, message: str) -> None:
        """Print what the author should know."""
        self._end()
        note(f"warning: {message}", "yellow")

    def planned(self, files: int, total_bytes: int, blobs: int, missing_bytes: int) -> None:
        """Say what there is and what is going to be sent."""
        self._end()
        what = f"{files} file{'s' if files != 1 else ''}, {formats.size(total_bytes)}"
        if not blobs:
            note(f"{what}: all there, nothing to upload")
            return
        note(f"{what}: uploading {blobs}, {formats.size(missing_bytes)}")
        self._total = missing_bytes
        if missing_bytes:
            self._show("Uploading", missing_bytes)

    def sent(self, count: int) -> None:
        """Count bytes that have gone out."""
        with self._lock:
            self._sent += count
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=self._sent)
            elif self._total:
                self._plainly()

    def _plainly(self) -> None:
        tenths = min(self._sent * _TENTH // self._total, _TENTH)
        if tenths > self._said and self._total >= 10_000_000:
            self._said = tenths
            note(f"  {tenths * 10:3d} %  {formats.size(self._sent)} of {formats.size(self._total)}")

    def _show(self, text: str, total: int | None) -> None:
        if not live():
            return
        if self._bar is None:
            self._bar = bar()
            self._bar.start()
            self._task = self._bar.add_task(text, total=total)
        else:
            self._bar.update(self._task, description=text, total=total)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


class Steps:
    """Shows the steps of a build, run or training as they come."""

    def __init__(self, first: str) -> None:
        self._last = ""
        self._bar: Any = None
        self._task: Any = None
        if live():
            self._bar = bar()
            self._bar.start()
            self._task = self._bar.add_task(first, total=None)
        self.step(first)

    def step(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Show what is done now; equal steps are said once."""
        text = formats.harmless(text).strip()
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=done or 0, total=total)
        elif text and text != self._last:
            note(text)
        self._last = text

    def line(self, text: str) -> None:
        """Print a line that stays, above what moves."""
        text = formats.harmless(text).rstrip("\n")
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            note(text)

    def stop(self) -> None:
        """Stop moving."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def steps(first: str) -> Iterator[Steps]:
    """Show steps while the block runs."""
    shown = Steps(first)
    try:
        yield shown
    finally:
        shown.stop()


def build_step(shown: Steps, event: ServerEvent) -> None:
    """Show one event of a build."""
    if event.name != "progress":
        return
    news = event.json()
    text = str(news.get("message") or news.get("step") or "Building")
    shown.step(text, news.get("done"), news.get("total"))


def work_step(shown: Steps, event: ServerEvent, *, with_log: bool = True) -> None:
    """Show one event of a run or a training."""
    news = event.json()
    if event.name == "state":
        shown.step(str(news.get("state", "")).capitalize())
        return
    if event.name != "progress":
        return
    if with_log and news.get("log"):
        shown.line(str(news["log"]))
    if metrics := news.get("metrics"):
        step = f"step {formats.number(news['step'])}  " if news.get("step") is not None else ""
        shown.line(step + "  ".join(f"{name} {formats.number(value)}" for name, value in metrics.items()))
    if news.get("message") or news.get("fraction") is not None:
        fraction = news.get("fraction")
        text = str(news.get("message") or "Running")
        shown.step(text, fraction, 1.0 if fraction is not None else None)


def bar() -> Any:
    """Return a bar that vanishes when it ends."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console(sys.stderr), transient=True)
