"""Report numbers and progress from a training or a run; one file, standard library only.

    import vitrine_metrics
    vitrine_metrics.log(step=3, loss=0.31, accuracy=0.9)

Inside a Vitrine sandbox the reports appear live; anywhere else they are printed as JSON lines, so the
same script runs unchanged on a laptop.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["log", "progress"]

_MAX_LINE = 4096
"""Pipes keep writes up to this size (PIPE_BUF) in one piece when several processes report."""
deliver: Callable[[bytes], None] | None = None
"""Set by the platform where it serves several runs in one process and has to know whose report it is."""


def log(step: int | None = None, **values: Any) -> None:
    """Report numbers, optionally at a step.

    Anything with `float()` is taken, a zero-dimensional tensor too; NaN and infinity are left out.
    Raises `TypeError` for a value that is no number and `ValueError` for a report beyond 4096 bytes.
    """
    numbers: dict[str, float | int | None] = {} if step is None else {"step": int(step)}
    for name, value in values.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"log: `{name}` is {type(value).__name__}, not a number") from None
        if math.isfinite(number):
            numbers[name] = number
    _send(numbers)


def progress(fraction: float, message: str = "") -> None:
    """Report how far the work is, from 0 to 1, with an optional line for people."""
    _send({"progress": min(1.0, max(0.0, float(fraction))), "message": str(message)[:500]})


def _send(report: dict[str, Any]) -> None:
    line = (json.dumps(report) + "\n").encode()
    if deliver is not None:
        deliver(line)
        return
    path = os.environ.get("VITRINE_METRICS")
    if path is None:
        sys.stdout.write(line.decode())
        sys.stdout.flush()
        return
    if len(line) > _MAX_LINE:
        raise ValueError(f"a report of {len(line)} bytes is too large; report fewer values at a time")
    # Opened for each report: a descriptor kept open would be shared with, or closed by, child processes.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
