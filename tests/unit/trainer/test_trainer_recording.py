"""A training goes on while what records it is away, and keeps only so much of what it says."""

from __future__ import annotations

from typing import Any

import pytest

from vitrine_common.documents import Trial
from vitrine_common.errors import Unavailable
from vitrine_engine import Metric
from vitrine_trainer import patience
from vitrine_trainer.recording import MAX_NAMES, Recorder, sampling

TRIAL = Trial(id="trial_1", owner_id="u", owner="o", model="m", source_digest="sha256:0")


class Trials:
    """Points and samples, behind a database that is away at first."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.points: list[dict[str, float]] = []

    async def add_point(self, _trial: Trial, _sequence: int, _step: float | None, values: Any) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("the database does not answer")
        self.points.append(values)


class Deaf:
    """A bus that nobody hears."""

    async def tell(self, _news: object) -> None:
        """Say nothing."""


def recorder(trials: Any) -> Recorder:
    """A recorder of a trial."""
    bus: Any = Deaf()
    return Recorder(TRIAL, trials, bus)


async def test_metrics_wait_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    trials = Trials(away=3)
    one = recorder(trials)
    await one.metric(Metric(values={"loss": 0.5}, step=1))
    assert trials.points == [{"loss": 0.5}]
    assert one.metrics == {"loss": 0.5}


async def test_names_without_end_fill_no_memory() -> None:
    trials = Trials(away=0)
    one = recorder(trials)
    for batch in range(10):
        await one.metric(Metric(values={f"m{batch}-{index}": 1.0 for index in range(250)}, step=batch))
    await one.metric(Metric(values={"m0-0": 2.0}, step=11))
    assert len(one.metrics) == MAX_NAMES
    assert one.metrics["m0-0"] == 2.0
    assert len(trials.points) == 11


async def test_a_training_ends_as_it_ends_although_it_could_not_be_watched() -> None:
    class Gone:
        async def usage(self) -> None:
            raise RuntimeError("the sandbox is gone")

    trials: Any = Trials(away=0)
    sandbox: Any = Gone()
    gpus: Any = None
    with pytest.raises(ValueError, match="out of memory"):
        async with sampling(TRIAL, trials, sandbox, gpus, 0.01):
            raise ValueError("out of memory")
