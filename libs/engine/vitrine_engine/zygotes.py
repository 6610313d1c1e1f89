"""Interpreters that an engine keeps with an environment's modules imported: how many, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygotePolicy:
    """How many interpreters with imported modules an engine keeps, used or not; `most` 0 keeps none."""

    most: int = 16
    idle_seconds: float = 1800.0
    """Time after which one goes that nobody has used."""
    memory_bytes: int = 2 * GIB
    """Their memory together; the least recently used go first. Those in use stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteFigures:
    """One interpreter with imported modules."""

    environment: Path
    owner: str
    pid: int
    memory_bytes: int
    """Its share of memory (PSS)."""
    modules: tuple[str, ...]
    sandboxes: int
    """How many live that it makes forks for."""
    forks: int
    """How many it has made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFigures:
    """What an engine holds now, beside its sandboxes."""

    zygotes: tuple[ZygoteFigures, ...] = ()
