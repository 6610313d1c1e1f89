"""Where a run is served best: by a warm worker, else in a warm environment, else where memory is free.

A host that is not the best place leaves a run to a better one for a moment. It is never left for longer, so
that none is lost to a host that died or changed its mind; and a run that can only wait here (its version has
all its workers, and they are full) is passed over in favour of one that need not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from vitrine_common.fleet import Fleet
from vitrine_common.messages import RunnerBeat
from vitrine_common.run_queue import Device, Head
from vitrine_runner.workers import Need, WorkerPool

HAND_OVER_SECONDS = 0.25
"""How long a run is left to a host that is a better place for it and has a slot to give."""
_MOST_LEFT = 1000
_MOST_ROOM = 8
"""Hosts with room for so many more workers are equally good."""

Fitness = tuple[int, int]


@dataclass
class Placement:
    """Decides whether this host takes a run now.

    Args:
        pool: the workers here.
        fleet: the other hosts.
        holder: the name of this one.
        usual_memory: what a worker takes that says nothing, in bytes.
        clock: seconds that only grow.
    """

    pool: WorkerPool
    fleet: Fleet
    holder: str
    usual_memory: int
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, float] = field(default_factory=dict)

    def patience(self, head: Head) -> float:
        """Return for how many seconds to leave a run alone: 0 takes it now, infinity not as things are."""
        need = Need(head.version_digest, head.environment_digest, head.flow.owner)
        if not self.pool.gpus.suffice(head.gpus, head.gpu_memory) or self._is_full(need):
            return inf
        own = (self.pool.standing.warmth(need), self._room(self.pool.memory_free))
        if own[0] < _WARM_WORKER and any(
            self._fitness(beat, need) > own for beat in self._rivals("gpu" if head.gpus else "cpu")
        ):
            return self._rest_of_hand_over(head)
        self._left.pop(head.id, None)
        return 0.0

    def is_best(self, need: Need) -> bool:
        """Whether a run on the CPU, if it came now, would be served better here than on any other host."""
        own = (self.pool.standing.warmth(need), self._room(self.pool.memory_free))
        return all(self._fitness(beat, need) < own for beat in self._rivals("cpu"))

    def _is_full(self, need: Need) -> bool:
        """Whether no further worker may be had, and none here has a place."""
        if self.pool.standing.is_full(need):
            return True
        beats = self.fleet.others(self.holder)
        told = [one for beat in beats for one in beat.warm if one.version_digest == need.version_digest]
        same = [one for one in told if one.owner_id == need.owner_id]
        most = next((one.most for one in same if one.most is not None), None)
        if most is None or self.pool.standing.has_place(need):
            return False
        return sum(one.workers for one in same) + self.pool.standing.number_of(need) >= most

    def _rivals(self, device: Device) -> list[RunnerBeat]:
        others = self.fleet.others(self.holder)
        return [beat for beat in others if device in beat.devices and beat.busy < beat.slots]

    def _fitness(self, beat: RunnerBeat, need: Need) -> Fitness:
        if any(
            one.free_places and Need(one.version_digest, one.environment_digest, one.owner_id) == need
            for one in beat.warm
        ):
            warmth = _WARM_WORKER
        else:
            lives = ((one.environment_digest, one.owner_id) for one in beat.environments)
            warmth = int((need.environment_digest, need.owner_id) in lives)
        return warmth, self._room(beat.memory_free)

    def _room(self, memory_free: int) -> int:
        return min(_MOST_ROOM, memory_free // self.usual_memory)

    def _rest_of_hand_over(self, head: Head) -> float:
        now = self.clock()
        if len(self._left) >= _MOST_LEFT:
            self._left.clear()
        return max(0.0, self._left.setdefault(head.id, now) + HAND_OVER_SECONDS - now)


_WARM_WORKER = 2
