"""Declaring the three JetStream streams: commands, events, dead letters."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from vitrine_common.messages.subjects import COMMANDS, DEAD_LETTERS, EVENTS, subjects_of

_DAY = 24 * 3600
DUPLICATE_WINDOW_SECONDS = 10 * 60


def stream_configs(replicas: int) -> list[StreamConfig]:
    """Return how each stream is kept: commands until done, events a week, dead letters 30 days."""
    kept: dict[str, tuple[RetentionPolicy, float]] = {
        COMMANDS: (RetentionPolicy.WORK_QUEUE, 0),
        EVENTS: (RetentionPolicy.LIMITS, 7 * _DAY),
        DEAD_LETTERS: (RetentionPolicy.LIMITS, 30 * _DAY),
    }
    return [
        StreamConfig(
            name=name,
            subjects=subjects_of(name),
            retention=retention,
            max_age=max_age,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
            num_replicas=replicas,
        )
        for name, (retention, max_age) in kept.items()
    ]


async def ensure_streams(jetstream: JetStreamContext, replicas: int) -> None:
    """Create the streams or bring their subjects up to date; safe from several services at once."""
    for config in stream_configs(replicas):
        assert config.name is not None
        try:
            present = (await jetstream.stream_info(config.name)).config.subjects or []
        except NotFoundError:
            try:
                await jetstream.add_stream(config)
            except BadRequestError:
                # Another service was quicker; what it made is checked the next time one starts.
                await jetstream.stream_info(config.name)
            continue
        if sorted(present) != sorted(config.subjects or []):
            await jetstream.update_stream(config)
