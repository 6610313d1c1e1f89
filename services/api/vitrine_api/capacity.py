"""What the runners of this instance can take on, as far as is known: what none can is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from faststream.nats import NatsRouter

from vitrine_common.bus import on_live
from vitrine_common.documents import Version
from vitrine_common.errors import Conflict
from vitrine_common.fleet import Fleet
from vitrine_common.messages import Envelope, RunnerBeat
from vitrine_common.spec import Limits, Spec


@dataclass(frozen=True, slots=True)
class Need:
    """The GPUs that a run needs, and the bytes of each; 0 bytes: the whole of it."""

    gpus: int
    gpu_memory: int

    @property
    def device(self) -> Literal["cpu", "gpu"]:
        """The kind of runner that can take the run."""
        return "gpu" if self.gpus else "cpu"


def need_of(version: Version) -> Need:
    """Return what a run of a version needs."""
    if not version.spec.get("resources"):
        return Need(0, 0)
    return need_of_limits(Spec.model_validate(version.spec).limits())


def need_of_limits(limits: Limits) -> Need:
    """Return what limits say of GPUs."""
    return Need(limits.gpu, limits.gpu_memory)


def check_capacity(fleet: Fleet, need: Need) -> None:
    """Raise Conflict when no runner can ever take such a run."""
    fault = fleet.gpu_fault(need.gpus, need.gpu_memory)
    if fault is not None:
        raise Conflict(f"{fault}; ask the instance's operator to add a runner with one")


def make_router(fleet: Fleet) -> NatsRouter:
    """Return the handler that hears runners; a router belongs to one broker."""
    router = NatsRouter()

    @on_live(router, "runner.beat")
    async def runner_beat(envelope: Envelope[RunnerBeat]) -> None:
        """Take note of what a runner has to give."""
        fleet.hear(envelope.payload)

    return router
