"""The store kept below its limit: what nobody uses goes, what was not used for longest first.

Nothing that is in use is touched, by kernel locks (`vitrine_common.usage`): an environment while a sandbox
shows it, and everything that a build under way has found or is about to find. Whatever goes is renamed into
the drafts and removed there, so that it is there completely or not at all, also for who comes after a kill.
What is gone can be made again; runs wait for it.

The order: what the installers keep for themselves, layers and system packages that no environment has, then
environments with what only they had.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vitrine_builder.workspace import ENTRANCE, INSTALLERS, Workspace
from vitrine_common.drafts import remove_tree
from vitrine_common.ids import new_id
from vitrine_common.measuring import Scales, weigh
from vitrine_common.references import Made, environments, last_used, mark, named
from vitrine_common.replicas.eviction import ROOTS
from vitrine_common.usage import Claims, environment_use, layer_use, system_use

log = logging.getLogger(__name__)

ROOM = 0.9
"""Part of the limit that is left when a collection ends, so that not every build begins one."""
_OLD_SECONDS = 30 * 24 * 3600.0
"""After this time remembered answers go, used or not: they are small, and asked for again."""
_HALF_SECONDS = 3600.0
"""What is named as nothing that is finished is, and older than this, was left by a kill."""
_PATIENCE_SECONDS = 2.0
_UNPACKED = "archive-v0"
"""Where uv's cache has unpacked wheels; it fetches again what is missing."""


@dataclass(frozen=True)
class StoreSize:
    """Bytes on the disk by part of the store, and how many environments and layers there are."""

    environments: int
    layers: int
    system: int
    base: int
    installers: int
    other: int
    environment_count: int
    layer_count: int

    @property
    def total(self) -> int:
        """All of it."""
        parts = (self.environments, self.layers, self.system, self.base, self.installers, self.other)
        return sum(parts)


@dataclass
class Collected:
    """What a collection removed: bytes, and the names of environments and layers; and what is left.

    `size` is None where another process was at it.
    """

    freed: int = 0
    environments: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    size: StoreSize | None = None

    def told(self) -> dict[str, int]:
        """Return how much that was, for a log."""
        counts = {"environments": len(self.environments), "layers": len(self.layers)}
        return {"freed": self.freed, **counts}


@dataclass
class Collector:
    """Keeps one store below `limit` bytes, and `free_bytes` of its disk free where removing can do that."""

    workspace: Workspace
    limit: int
    free_bytes: int = 0
    scales: Scales = field(default_factory=Scales)

    def measure(self) -> StoreSize:
        """Return how large the store is now."""
        made, layers = environments(self.workspace.root), list(named(self.workspace.layers))
        private = self.workspace.root / ".builder"
        system = list(named(private / "system"))
        roots = list(named(private / ROOTS))
        known = {"layers", "system", ROOTS, "base", "uv", "conda", "drafts"}
        rest = [entry for entry in private.iterdir() if entry.name not in known]
        return StoreSize(
            environments=sum(self.scales.own(each.path) for each in made),
            layers=sum(self.scales.whole(place) for place in layers),
            # Files of the base are links to it, where they were not fetched.
            system=sum(map(self.scales.own, system)) + sum(map(self.scales.whole, roots)),
            base=sum(self.scales.whole(place) for place in named(private / "base")),
            installers=self._installers(),
            other=sum(weigh(entry) for entry in rest if entry.is_dir()),
            environment_count=len(made),
            layer_count=len(layers),
        )

    def _installers(self) -> int:
        cache = self.workspace.installer / "cache"
        unpacked = cache / _UNPACKED
        size = weigh(self.workspace.root / ".builder" / "conda", links=False)
        for entry in cache.iterdir() if cache.is_dir() else ():
            if entry != unpacked:
                size += weigh(entry, links=False)
        return size + sum(self.scales.own(each) for each in (unpacked.iterdir() if unpacked.is_dir() else ()))

    def collect(self) -> Collected:
        """Remove what has to go, if anything has; nothing happens while another process is at it."""
        collected = Collected()
        with self._alone() as alone:
            if alone:
                self.workspace.sweep()
                self._mark_used()
                self._tidy()
                size = self.measure()
                goal = self._excess(size.total)
                if goal > 0:
                    self._remove(goal, collected)
                    log.info("store collected", extra={"before": size.total, **collected.told()})
                    size = self.measure()
                collected.size = size
                told = {**asdict(size), "total": size.total, "limit": self.limit}
                self.workspace.write(size_file(self.workspace.root), json.dumps(told).encode())
        return collected

    def _excess(self, total: int) -> int:
        """Return how many bytes have to go."""
        over = total - int(self.limit * ROOM) if total > self.limit else 0
        free = _free(self.workspace.root)
        return max(over, self.free_bytes * 2 - free if free < self.free_bytes else 0)

    def _remove(self, goal: int, collected: Collected) -> None:
        self._empty_installers(collected)
        made = environments(self.workspace.root)
        self._unreferenced(made, goal, collected)
        while made and collected.freed < goal:
            each = made.pop(0)
            if self._take(environment_use(each.digest), each.path, collected, self.scales.own(each.path)):
                collected.environments.append(each.digest)
                self._unreferenced(made, goal, collected)
        # Where a file's last link went, others may hold more than they were known to.
        self.scales.forget()

    def _unreferenced(self, made: list[Made], goal: int, collected: Collected) -> None:
        """Remove layers, then system packages and bases, that none of the environments `made` needs."""
        needed = {layer for each in made for layer in each.layers}
        places = [place for place in named(self.workspace.layers) if place.name not in needed]
        for place in sorted(places, key=lambda place: last_used(place / "layer.json")):
            if collected.freed >= goal:
                return
            if self._take(layer_use(place.name), place, collected, self.scales.whole(place)):
                collected.layers.append(place.name)
        private = self.workspace.root / ".builder"
        systems = {each.system for each in made}
        for place in list(named(private / "system")):
            if collected.freed < goal and place.name not in systems:
                self._take(system_use(place.name), place, collected, self.scales.own(place))
        for place in list(named(private / ROOTS)):
            # Fetched while no builder worked here, or of an environment that another one made.
            if collected.freed < goal and place.name not in systems:
                self._take(system_use(place.name), place, collected, self.scales.whole(place))
        for place in list(named(private / "built" / "wheels")):
            # Resolutions look whether such a wheel is there, and have it built again.
            idle = time.time() - place.stat().st_mtime
            if collected.freed < goal and idle > _HALF_SECONDS:
                self._take(f"wheel {place.name}", place, collected, weigh(place))

    def _take(self, use: str, place: Path, collected: Collected, size: int) -> bool:
        """Remove `place` unless it is in use; return whether it went."""
        with self.workspace.uses.claims() as claims:
            if not claims.take(use):
                return False
            trash = self.workspace.drafts / new_id("trash")
            try:
                place.rename(trash)
            except FileNotFoundError:
                return False
        remove_tree(trash)
        collected.freed += size
        return True

    def _empty_installers(self, collected: Collected) -> None:
        """Remove what uv and conda have unpacked: the layers have it, too, and would free nothing."""
        cache = self.workspace.installer / "cache"
        packages = self.workspace.root / ".builder" / "conda" / "pkgs"
        with self._installers_idle() as idle:
            if not idle:
                return
            doomed = []
            # Answers of indexes stay; what tells of wheels believes that they are unpacked.
            kept = [*cache.glob("simple-*"), *cache.glob("interpreter-*")]
            for place in (
                *(each for each in cache.glob("*") if each.is_dir() and each not in kept),
                packages,
            ):
                trash = self.workspace.drafts / new_id("trash")
                with contextlib.suppress(FileNotFoundError):
                    place.rename(trash)
                    doomed.append(trash)
        for trash in doomed:
            collected.freed += weigh(trash, links=False)
            remove_tree(trash)

    @contextlib.contextmanager
    def _installers_idle(self) -> Iterator[bool]:
        """Keep the installers from being used; give False where they are in use for too long."""
        with self.workspace.uses.claims() as claims:
            # Nobody new comes in while those who are inside are waited for.
            idle = _patiently(claims, ENTRANCE) and _patiently(claims, INSTALLERS)
            yield idle

    def _mark_used(self) -> None:
        """Write down which environments are in use now: who uses them may not be allowed to."""
        for each in environments(self.workspace.root):
            with self.workspace.uses.claims() as claims:
                used = not claims.take(environment_use(each.digest))
            if used:
                mark(each.path / "environment.json")

    def _tidy(self) -> None:
        """Remove small things that are old, and what a kill left beside finished ones."""
        private = self.workspace.root / ".builder"
        now = time.time()
        for folder in ("resolutions", "images/diffs", "images/records", "built", "conda"):
            with contextlib.suppress(FileNotFoundError):
                for entry in os.scandir(private / folder):
                    with contextlib.suppress(OSError):
                        if entry.is_file(follow_symlinks=False):
                            age = now - entry.stat(follow_symlinks=False).st_mtime
                            half = folder in _JSON_ONLY and not entry.name.endswith(".json")
                            if age > (_HALF_SECONDS if half else _OLD_SECONDS):
                                Path(entry.path).unlink()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Give whether this process is the only one that collects while the block lasts."""
        descriptor = os.open(
            self.workspace.root / ".builder" / "collector.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


_JSON_ONLY = frozenset({"resolutions", "built", "conda"})


def size_file(environments_dir: Path) -> Path:
    """Return where the size of a store is written down after each look, for operators."""
    return environments_dir / ".builder" / "size.json"


def _patiently(claims: Claims, name: str) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not claims.take(name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
