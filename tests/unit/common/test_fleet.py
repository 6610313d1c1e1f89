"""What is known of the runners, and what is said where none has the GPU that a model needs."""

from __future__ import annotations

from typing import Any

from vitrine_common.fleet import FRESH_SECONDS, REMEMBERED_SECONDS, Fleet
from vitrine_common.messages import GpuState, RunnerBeat

GIB = 1 << 30


def gpu(size: int, **fields: Any) -> GpuState:
    known = {"name": "A", "memory_bytes": size, "free_bytes": size, "users": 0, "free": True}
    return GpuState(**{**known, **fields})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fleet_of(*beats: RunnerBeat) -> tuple[Fleet, Clock]:
    clock = Clock()
    fleet = Fleet(clock)
    for beat in beats:
        fleet.hear(beat)
    return fleet, clock


def test_who_is_silent_or_leaves_is_no_other() -> None:
    fleet, clock = fleet_of(RunnerBeat(holder="a", slots=2), RunnerBeat(holder="b", slots=3))
    assert [beat.holder for beat in fleet.others("a")] == ["b"]
    assert fleet.slots("cpu") == 5
    assert fleet.slots("gpu") == 0
    fleet.hear(RunnerBeat(holder="b", slots=3, leaving=True))
    assert not fleet.others("a")
    clock.now = FRESH_SECONDS
    assert fleet.slots("cpu") == 0


def test_gpus_that_no_runner_has_are_refused_with_what_there_is() -> None:
    fleet, _ = fleet_of(RunnerBeat(holder="a"))
    assert fleet.gpu_fault(0, 0) is None
    assert fleet.gpu_fault(1, 0) == "this model needs a GPU, and no machine of this instance has one"
    fleet.hear(RunnerBeat(holder="b", gpus=(gpu(24 * GIB, free_bytes=0, users=1, free=False), gpu(80 * GIB))))
    assert fleet.gpu_fault(1, 60 * GIB) is None, "busy is not missing"
    assert "2 GPUs with 60 GiB of memory each, and the largest here has 80 GiB" in str(
        fleet.gpu_fault(2, 60 * GIB)
    )
    assert "no machine here has more than 2" in str(fleet.gpu_fault(4, 0))
    fleet.hear(RunnerBeat(holder="c", gpus=(gpu(0),)))
    assert fleet.gpu_fault(1, 200 * GIB) is None, "nobody knows how large it is"


def test_nothing_is_refused_while_nothing_is_known_or_a_runner_may_come_back() -> None:
    fleet, clock = fleet_of()
    assert fleet.gpu_fault(1, 0) is None
    fleet.hear(RunnerBeat(holder="gpu", gpus=(gpu(GIB),)))
    clock.now = REMEMBERED_SECONDS - 1
    fleet.hear(RunnerBeat(holder="cpu"))
    assert fleet.gpu_fault(1, 0) is None
    clock.now = REMEMBERED_SECONDS + 1
    assert fleet.gpu_fault(1, 0) is not None
