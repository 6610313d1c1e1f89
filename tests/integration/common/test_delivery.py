"""What becomes of a message: handled once, retried, buried, and never lost by a service that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vitrine_common.bus import Bus, Poison, delivery, make_broker, on, on_live
from vitrine_common.messages import (
    BuildSucceeded,
    Envelope,
    RunFinished,
    RunProgress,
    RunStart,
    TrialStarted,
    seal,
)
from vitrine_common.messages.subjects import COMMANDS, DEAD_LETTERS
from vitrine_common.settings import NatsSettings
from vitrine_common.states import RunState
from vitrine_common.telemetry import configure_tracing, correlation, correlation_id, inject, span


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def stored(bus: Bus, stream: str) -> int:
    return int((await bus.client.jetstream().stream_info(stream)).state.messages)


async def test_a_command_is_handled_once_and_then_gone(bus: Bus) -> None:
    heard: list[str] = []

    @on(bus.broker, "runner", "run.start.cpu")
    async def handle(envelope: Envelope[RunStart]) -> None:
        heard.append(envelope.payload.run_id)

    await bus.send(RunStart(run_id="run_1"))
    await bus.broker.start()

    async def done() -> bool:
        return heard == ["run_1"] and await stored(bus, COMMANDS) == 0

    await until(done)


async def test_equal_envelope_ids_are_one_message(bus: Bus) -> None:
    envelope = seal(RunStart(run_id="run_1"))
    for _ in range(3):
        await bus.publish(envelope)
    assert await stored(bus, COMMANDS) == 1


async def test_a_failing_handler_is_tried_again(bus: Bus) -> None:
    attempts = 0

    @on(bus.broker, "runner", "run.start.cpu")
    async def handle(envelope: Envelope[RunStart]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError("the disk is asleep")

    await bus.send(RunStart(run_id="run_1"))
    await bus.broker.start()

    async def done() -> bool:
        return attempts == 3 and await stored(bus, COMMANDS) == 0

    await until(done)
    assert await stored(bus, DEAD_LETTERS) == 0


async def test_what_always_fails_ends_as_a_dead_letter(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BACKOFF_SECONDS", (0.01,))
    attempts = 0

    @on(bus.broker, "runner", "run.start.cpu")
    async def handle(envelope: Envelope[RunStart]) -> None:
        nonlocal attempts
        attempts += 1
        raise RuntimeError("never")

    await bus.send(RunStart(run_id="run_1"))
    await bus.broker.start()

    async def buried() -> bool:
        return await stored(bus, DEAD_LETTERS) == 1 and await stored(bus, COMMANDS) == 0

    await until(buried)
    assert attempts == delivery.MAX_DELIVERIES
    letter = await bus.client.jetstream().get_msg(DEAD_LETTERS, seq=1)
    assert letter.subject == "dead.run.start.cpu"
    assert letter.headers is not None
    assert "never" in letter.headers[delivery.REASON_HEADER]


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"id": "x"}', b""])
async def test_what_cannot_be_read_is_buried_at_once(bus: Bus, body: bytes) -> None:
    @on(bus.broker, "runner", "run.start.cpu")
    async def handle(envelope: Envelope[RunStart]) -> None:
        raise AssertionError("must not be called")

    await bus.client.jetstream().publish("run.start.cpu", body)
    await bus.broker.start()

    async def buried() -> bool:
        return await stored(bus, DEAD_LETTERS) == 1 and await stored(bus, COMMANDS) == 0

    await until(buried)


async def test_poison_is_not_retried(bus: Bus) -> None:
    attempts = 0

    @on(bus.broker, "runner", "run.start.cpu")
    async def handle(envelope: Envelope[RunStart]) -> None:
        nonlocal attempts
        attempts += 1
        raise Poison("no such run")

    await bus.send(RunStart(run_id="run_1"))
    await bus.broker.start()

    async def buried() -> bool:
        return await stored(bus, DEAD_LETTERS) == 1

    await until(buried)
    assert attempts == 1


async def test_an_event_reaches_every_service_once(bus: Bus) -> None:
    heard: list[str] = []

    @on(bus.broker, "api", "build.succeeded")
    async def by_api(envelope: Envelope[BuildSucceeded]) -> None:
        heard.append("api")

    @on(bus.broker, "trainer", "build.succeeded")
    async def by_trainer(envelope: Envelope[BuildSucceeded]) -> None:
        heard.append("trainer")

    await bus.send(BuildSucceeded(build_id="bld_1", environment_digest="d"))
    await bus.broker.start()

    async def both() -> bool:
        return sorted(heard) == ["api", "trainer"]

    await until(both)
    await asyncio.sleep(0.2)
    assert sorted(heard) == ["api", "trainer"]


async def test_subjects_follow_the_payload(bus: Bus) -> None:
    envelope = seal(RunFinished(run_id="r", version_id="v", state=RunState.CANCELLED))
    assert envelope.payload.subject() == "run.cancelled"
    assert seal(TrialStarted(trial_id="t")).payload.subject() == "trial.started"


async def test_trace_and_correlation_cross_the_bus(fresh_nats: str) -> None:
    spans = InMemorySpanExporter()
    configure_tracing("test", spans)
    settings = NatsSettings(url=fresh_nats)
    bus = Bus(make_broker(settings, "test"), settings, "test")
    await bus.connect()
    seen: list[tuple[str | None, str]] = []

    @on_live(bus.broker, "run.progress.*")
    async def handle(envelope: Envelope[RunProgress]) -> None:
        seen.append((correlation_id(), inject()["traceparent"]))

    await bus.broker.start()
    with correlation("action-1"), span("request"):
        sent = inject()["traceparent"]
        await bus.tell(RunProgress(run_id="run_1", state=RunState.RUNNING))

    async def done() -> bool:
        return len(seen) == 1

    await until(done)
    await bus.broker.stop()
    assert seen[0][0] == "action-1"
    assert seen[0][1].split("-")[1] == sent.split("-")[1], "one trace"
    assert seen[0][1] != sent, "a span of its own"
