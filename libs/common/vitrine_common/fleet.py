"""The runners of an instance, as they tell of themselves: who is there, and what it has to give."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vitrine_common.messages import GpuState, RunnerBeat

BEAT_SECONDS = 2.0
FRESH_SECONDS = 7.0
"""Who was not heard for so long counts as dead: three beats were missed."""
REMEMBERED_SECONDS = 90.0
"""Who was heard within this time is expected back: it may be starting anew."""


@dataclass(frozen=True, slots=True)
class _Heard:
    beat: RunnerBeat
    at: float


class Fleet:
    """What was heard of the runners; nothing is asked.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, _Heard] = {}

    def hear(self, beat: RunnerBeat) -> None:
        """Take note of what a runner tells."""
        now = self._clock()
        self._heard[beat.holder] = _Heard(beat, now)
        self._heard = {
            holder: heard for holder, heard in self._heard.items() if now - heard.at < REMEMBERED_SECONDS
        }

    def others(self, holder: str) -> list[RunnerBeat]:
        """Return the last beats of the runners that live and take runs, but for one."""
        return [beat for beat in self._within(FRESH_SECONDS) if beat.holder != holder and not beat.leaving]

    def slots(self, device: str) -> int:
        """Return how many runs of a device are worked on at a time, all runners together."""
        return sum(beat.slots for beat in self.others("") if device in beat.devices)

    def gpu_fault(self, gpus: int, memory: int) -> str | None:
        """Say why a run can never begin that needs so many GPUs, with so many bytes of each; else None.

        Runners that were heard lately count although they are silent now. As long as none was heard at all,
        nothing is known, and so nothing is refused.
        """
        beats = self._within(REMEMBERED_SECONDS)
        if not gpus or not beats or any(suits(beat.gpus, gpus, memory) for beat in beats):
            return None
        most = max(len(beat.gpus) for beat in beats)
        if most == 0:
            return f"this model needs {_gpus(gpus)}, and no machine of this instance has one"
        if most < gpus:
            return f"this model needs {_gpus(gpus)} of one machine, and no machine here has more than {most}"
        largest = max((gpu.memory_bytes for beat in beats for gpu in beat.gpus), default=0)
        return (
            f"this model needs {_gpus(gpus)} with {memory / (1 << 30):.3g} GiB of memory each, and the "
            f"largest here has {largest / (1 << 30):.3g} GiB"
        )

    def _within(self, seconds: float) -> list[RunnerBeat]:
        now = self._clock()
        return [heard.beat for heard in self._heard.values() if now - heard.at < seconds]


def suits(gpus: tuple[GpuState, ...], number: int, memory: int) -> bool:
    """Whether so many of the GPUs have so much memory, used or not; one of unknown size is taken to."""
    return sum(not gpu.memory_bytes or gpu.memory_bytes >= memory for gpu in gpus) >= number


def _gpus(number: int) -> str:
    return "a GPU" if number == 1 else f"{number} GPUs"
