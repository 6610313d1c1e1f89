"""Which failures are tried again, and how a build's parts are put together, without a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from vitrine_builder.assembly import Guesses
from vitrine_builder.builds import Recipe
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.layers import _Downloads
from vitrine_builder.lock import Lock, Target
from vitrine_builder.progress import Step, Stopwatch
from vitrine_builder.requirements import Requirements
from vitrine_common.errors import NotFound, TooLarge, Unavailable
from vitrine_common.messages import EnvironmentRequest


@dataclass
class Failing:
    """A resolver that fails with what it is told, one after the other."""

    failures: list[Exception]
    asked: list[Requirements] = field(default_factory=list)

    refreshed: list[bool] = field(default_factory=list)

    async def resolve(self, requirements: Requirements, _report: object, *, refresh: bool) -> Lock:
        self.asked.append(requirements)
        self.refreshed.append(refresh)
        if self.failures:
            raise self.failures.pop(0)
        return Lock(())


class Ready:
    """Finds every environment."""

    target = Target()
    guesses = Guesses()

    @contextlib.asynccontextmanager
    async def ahead(self, _requirements: str) -> AsyncIterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def in_use(self, _lock: Lock) -> AsyncIterator[None]:
        yield

    def find(self, lock: Lock) -> str:
        return "environment" if not lock.packages else "other"

    async def record(self, *_: object) -> None:
        """Keep nothing."""


async def read_six(digest: str, limit: int) -> bytes:
    if digest == "gone":
        raise NotFound("no such blob")
    if digest == "huge":
        raise TooLarge("too large")
    return b"six\n"


def recipe(resolver: Failing) -> Recipe:
    ready = cast("Any", Ready())
    return Recipe(read_six, cast("Any", resolver), ready, ready, ready, max_tries=3, retry_seconds=0)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (BuildFailure(FailureReason.INDEX_UNREACHABLE, "away"), 3),
        (BuildFailure(FailureReason.DISK_FULL, "full"), 3),
        (BuildFailure(FailureReason.TIMEOUT, "slow"), 3),
        (Unavailable("the database does not answer"), 3),
        (OSError("input/output error"), 3),
        (BuildFailure(FailureReason.CONFLICT, "no"), 1),
        (BuildFailure(FailureReason.NO_WHEEL, "no"), 1),
    ],
)
async def test_what_may_pass_is_tried_three_times_and_the_rest_once(failure: Exception, tries: int) -> None:
    resolver = Failing([failure] * 9)
    with pytest.raises(BuildFailure):
        await recipe(resolver).make(EnvironmentRequest(), list[Step]().append, Stopwatch())
    assert len(resolver.asked) == tries


async def test_what_passed_is_told_and_forgotten() -> None:
    steps: list[Step] = []
    resolver = Failing([BuildFailure(FailureReason.INDEX_UNREACHABLE, "The index is away.")])
    watch = Stopwatch()
    made = await recipe(resolver).make(EnvironmentRequest(requirements_digest="six"), steps.append, watch)
    assert made == cast("Any", "environment")
    assert [step.name for step in steps] == ["resolve", "queued", "resolve"]
    assert "The index is away. Trying again" in steps[1].message
    assert resolver.asked[0].text == "six\n"
    assert {"resolve", "environment"} <= set(watch.milliseconds)


async def test_a_list_and_a_refresh_reach_the_resolver() -> None:
    resolver = Failing([])
    request = EnvironmentRequest(requirements=("six", "idna==3.10"), refresh=True)
    await recipe(resolver).make(request, list[Step]().append, Stopwatch())
    assert resolver.asked[0].text == "idna==3.10\nsix\n"
    assert resolver.refreshed == [True]


async def test_a_preset_is_a_list_of_the_platforms() -> None:
    resolver = Failing([])
    await recipe(resolver).make(EnvironmentRequest(preset="onnx"), list[Step]().append, Stopwatch())
    assert [line.name for line in resolver.asked[0].lines] == ["numpy", "onnxruntime", "pillow"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (EnvironmentRequest(python="3.9"), "write `language: python-3.11`"),
        (EnvironmentRequest(requirements_digest="gone"), "push the bundle again"),
        (EnvironmentRequest(requirements_digest="huge"), "name only what your code imports"),
    ],
)
async def test_a_request_that_cannot_be_is_final(request_: EnvironmentRequest, said: str) -> None:
    resolver = Failing([])
    with pytest.raises(BuildFailure) as caught:
        await recipe(resolver).make(request_, list[Step]().append, Stopwatch())
    assert caught.value.reason is FailureReason.INVALID_REQUIREMENTS
    assert said in caught.value.sentence
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (Step("download", "numpy", 12_400_000, 80_000_000, "bytes"), "Downloading numpy (12 of 80 MB)"),
        (Step("load", "4 layers", 7), "Loading into Docker: 4 layers"),
        (Step("resolve", "Choosing versions"), "Choosing versions"),
        (Step("done", "sha256:0", 3, 3, "packages"), "sha256:0"),
    ],
)
def test_news_say_what_is_done_and_how_much_of_it(step: Step, sentence: str) -> None:
    assert step.sentence == sentence


def test_what_a_download_takes_is_known_before_it_begins() -> None:
    told: list[Step] = []
    downloads = _Downloads(told.append, [3_000_000, None, 5_000_000])
    downloads.line("Downloading numpy (4.8MiB)")
    downloads.line("Downloading six (2.9 MiB)")
    downloads.line(" Downloaded numpy")
    downloads.done()
    assert [(step.message, step.done, step.total) for step in told] == [
        ("3 packages", 0, 8_000_000),
        ("numpy", 0, 8_000_000),
        ("six", 0, 8_074_034),
        ("numpy", 5_033_164, 8_074_034),
        ("", 8_074_034, 8_074_034),
    ]
