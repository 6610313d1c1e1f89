"""Which packages share a layer, and in which order layers lie: a function of the packages, never of history.

Docker names a layer by everything below it, so a layer that changes takes all layers above it along. What
is large lies low, and what is small lies high, where the next small package will change little.
The numbers are argued for in `docs/decisions`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Protocol, TypeVar

LARGE_BYTES = 6 << 20
"""A package of so many bytes has a layer of its own."""
SMALL_BYTES = 512 << 10
"""A package of fewer bytes goes to the groups that lie on top."""
MOST_ALONE = 72
MIDDLE_GROUPS = 5
TOP_GROUPS = 2
MOST_LAYERS = MOST_ALONE + MIDDLE_GROUPS + TOP_GROUPS
"""Of wheels. One of bytecode for each of the three tiers, and what lies below wheels, make at most 100."""


class Sized(Protocol):
    """What is planned: a package's name and the bytes of its content, without what was compiled from it."""

    @property
    def name(self) -> str:
        """The package's name as locks write it."""

    @property
    def content(self) -> int:
        """Bytes of the wheel's files."""


S = TypeVar("S", bound=Sized)


def plan_layers(packages: Sequence[S]) -> tuple[tuple[S, ...], ...]:
    """Return the packages of each layer from the bottom up: at most `MOST_LAYERS` layers, none of them empty.

    They are those of `plan_tiers`, one after the other.
    """
    return tuple(chain.from_iterable(plan_tiers(packages)))


def plan_tiers(packages: Sequence[S]) -> tuple[tuple[tuple[S, ...], ...], ...]:
    """Return the packages of each layer: of those with one package, of the middle and of the small ones.

    One package more changes the layer that it goes to, and where the largest `MOST_ALONE` are taken already,
    the one that the smallest of them has to join; every other layer holds what it held.
    """
    by_size = sorted(packages, key=lambda package: (-package.content, package.name))
    alone = [package for package in by_size if package.content >= LARGE_BYTES][:MOST_ALONE]
    taken = {package.name for package in alone}
    tiers: tuple[dict[int, list[S]], dict[int, list[S]]] = ({}, {})
    for package in sorted(packages, key=lambda package: package.name):
        if package.name not in taken:
            top = package.content < SMALL_BYTES
            number = _number(package.name) % (TOP_GROUPS if top else MIDDLE_GROUPS)
            tiers[top].setdefault(number, []).append(package)
    middle, small = (tuple(tuple(groups[number]) for number in sorted(groups)) for groups in tiers)
    return tuple((package,) for package in alone), middle, small


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
