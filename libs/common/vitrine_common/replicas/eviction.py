"""Fetched environments kept below a limit: what nobody uses goes, what was not used for longest first."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from vitrine_common.drafts import own_drafts, remove_tree
from vitrine_common.ids import new_id
from vitrine_common.measuring import Scales
from vitrine_common.references import environments, named
from vitrine_common.usage import environment_use, layer_use, system_use, use_table

log = logging.getLogger(__name__)

ROOTS = "roots"
"""Folder of fetched root file systems below `.builder`, apart from those that a builder made."""


class Eviction:
    """Removes from the store `store` until it has at most `limit` bytes; what is in use stays.

    Several processes may remove at once: each thing goes once, by one rename.
    """

    def __init__(self, store: Path, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._scales = Scales()
        self._lock = threading.Lock()

    def run(self, room: int = 0) -> list[str]:
        """Remove what has to go so that `room` bytes more fit; return the environments' names; blocks."""
        removed: list[str] = []
        goal = self._limit - room
        with self._lock, own_drafts(self._store, "evict") as (drafts, _):
            if self._size() <= goal:
                return removed
            self._take_spare(drafts)
            for oldest in environments(self._store):
                if self._size() <= goal:
                    break
                if self._take(environment_use(oldest.digest), oldest.path, drafts):
                    removed.append(oldest.digest)
                    self._take_spare(drafts)
        log.info("store collected", extra={"environments": removed})
        return removed

    def _size(self) -> int:
        private = self._store / ".builder"
        trees = [*named(private / "layers"), *named(private / ROOTS)]
        own = sum(self._scales.own(each.path) for each in environments(self._store))
        return own + sum(self._scales.whole(each) for each in trees)

    def _take_spare(self, drafts: Path) -> None:
        """Remove layers and root file systems that no environment needs."""
        private = self._store / ".builder"
        made = environments(self._store)
        layers = {layer for each in made for layer in each.layers}
        roots = {each.system for each in made}
        for place in list(named(private / "layers")):
            if place.name not in layers:
                self._take(layer_use(place.name), place, drafts)
        for place in list(named(private / ROOTS)):
            if place.name not in roots:
                self._take(system_use(place.name), place, drafts)

    def _take(self, use: str, place: Path, drafts: Path) -> bool:
        """Remove `place` unless it is in use; return whether it went."""
        with use_table(self._store).claims() as claims:
            if not claims.take(use):
                return False
            trash = drafts / new_id("trash")
            try:
                place.rename(trash)
            except FileNotFoundError:
                return False
        remove_tree(trash)
        # Files that it shared with others are theirs alone now.
        self._scales.forget()
        return True
