"""Whose turn it is: fair shares between owners, of an owner between links, of a link between versions.

At each level the one with the fewest runs at work is served first; of equals the one that was served
least recently; of these the one that has waited longest. Within a version of a link the oldest run is first.
With one place that is a round robin; with many, each gets an equal share of the places for as long as it has
runs that wait, and what it leaves goes to the others: the max-min fairness of hierarchical fair queueing
(Bennett and Zhang, "Hierarchical packet fair queueing algorithms", SIGCOMM 1996) with runs for packets, and
with places held in place of a virtual clock, because nobody knows how long a run will take.

Runners serve by it and pages tell places in the queue by it, so that both agree.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

_NEVER = -1.0
_SEPARATOR = "/"

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """Runs that are served one after the other, the oldest first."""

    owner: str
    """Whose model it is."""
    lane: str
    """What the runs are asked for by: a link's id, or an account's."""
    version: str

    @property
    def key(self) -> str:
        """The flow as one text, as runs carry it."""
        return _SEPARATOR.join((self.owner, self.lane, self.version))

    @classmethod
    def of_key(cls, key: str) -> Self:
        """Read a flow back from its key; raises ValueError for anything else."""
        owner, lane, version = key.split(_SEPARATOR)
        return cls(owner, lane, version)

    @property
    def levels(self) -> tuple[_Path, _Path, _Path]:
        """The flow's owner, its lane, and itself."""
        return (self.owner,), (self.owner, self.lane), (self.owner, self.lane, self.version)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that waits, since a time in milliseconds."""

    id: str
    flow: Flow
    since: float


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that was begun, at a time in milliseconds, and whether it is at work still."""

    flow: Flow
    at: float
    active: bool


def serving_order(waiting: Iterable[Waiting], begun: Iterable[Begun] = ()) -> Iterator[Waiting]:
    """Yield the runs that wait in the order in which they are to be served.

    The first is the one to serve now. Those after it follow if, for each run that begins, the one that has
    been at work for longest ends; what really ends first may change their order, never the rules.

    Args:
        waiting: all runs that wait; for the first alone, the oldest of each flow is enough.
        begun: the runs at work, and those begun lately.
    """
    shares = _Shares(begun)
    flows = _oldest_first(waiting)
    while flows:
        chosen = shares.next_of(flows)
        queue = flows[chosen]
        yield queue.popleft()
        if not queue:
            del flows[chosen]
        shares.serve(chosen)


def _oldest_first(waiting: Iterable[Waiting]) -> dict[Flow, deque[Waiting]]:
    flows: dict[Flow, deque[Waiting]] = {}
    for one in sorted(waiting, key=lambda one: (one.since, one.id)):
        flows.setdefault(one.flow, deque()).append(one)
    return flows


class _Shares:
    """How many runs of each owner, lane and flow are at work, and when each was served last."""

    def __init__(self, begun: Iterable[Begun]) -> None:
        self._active: Counter[_Path] = Counter()
        self._served: dict[_Path, float] = {}
        self._working: deque[Flow] = deque()
        self._clock = 0.0
        for one in sorted(begun, key=lambda one: one.at):
            self._note(one.flow, one.at)
            if one.active:
                self._enter(one.flow)

    def next_of(self, flows: dict[Flow, deque[Waiting]]) -> Flow:
        """Return whose turn it is: an owner's, then within it a lane's, then a flow's."""
        candidates: Sequence[Flow] = list(flows)
        for level in range(3):
            since: dict[_Path, float] = {}
            for flow in candidates:
                path = flow.levels[level]
                since[path] = min(flows[flow][0].since, since.get(path, float("inf")))
            best = min(since, key=lambda path: (*self._rank(path), since[path], path))
            candidates = [flow for flow in candidates if flow.levels[level] == best]
        return candidates[0]

    def _rank(self, path: _Path) -> tuple[int, float]:
        return self._active[path], self._served.get(path, _NEVER)

    def serve(self, flow: Flow) -> None:
        """Begin a run of `flow`, in the place of the one that has been at work for longest."""
        if self._working:
            for path in self._working.popleft().levels:
                self._active[path] -= 1
        self._note(flow, self._clock + 1.0)
        self._enter(flow)

    def _enter(self, flow: Flow) -> None:
        self._working.append(flow)
        for path in flow.levels:
            self._active[path] += 1

    def _note(self, flow: Flow, at: float) -> None:
        self._clock = max(self._clock, at)
        for path in flow.levels:
            self._served[path] = at
