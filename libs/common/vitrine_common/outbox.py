"""The outbox: messages that are written down in the same update as the change they tell of.

A document carries its unsent envelopes in `outbox.<envelope id>` and their number in `outbox_count`.
Whoever wrote the change publishes at once; a relay in every service finds what a kill left behind.
The envelope's id is the `Nats-Msg-Id`, so publishing twice within the stream's window is publishing
once, and handlers are idempotent beyond it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import TypeAdapter

from vitrine_common.messages import Envelope, Message
from vitrine_common.messages.subjects import MESSAGES

log = logging.getLogger(__name__)

_SCAN_BATCH = 200


class Publisher(Protocol):
    """Sends an envelope to the stream that keeps its subject and returns once it is kept."""

    async def publish(self, envelope: Envelope[Any]) -> None:
        """Publish durably; raises when the bus does not confirm."""
        ...


def outbox_fields(envelopes: Sequence[Envelope[Any]]) -> dict[str, Any]:
    """Return the `$set` part that writes `envelopes` down (pair it with `outbox_increment`)."""
    return {f"outbox.{envelope.id}": envelope.model_dump_json() for envelope in envelopes}


def read_envelope(text: str) -> Envelope[Message]:
    """Read an envelope of any known type back from an outbox entry."""
    untyped = TypeAdapter(dict[str, Any]).validate_json(text)
    payload = MESSAGES[untyped["type"]]
    return Envelope[payload].model_validate(untyped)  # type: ignore[valid-type]


class Outbox:
    """The unsent messages of one collection.

    Args:
        collection: the raw driver collection.
        publisher: where messages go.
    """

    def __init__(self, collection: Any, publisher: Publisher) -> None:
        self._collection = collection
        self._publisher = publisher
        self._marking: set[asyncio.Task[None]] = set()

    async def send(self, document_id: str, envelopes: Sequence[Envelope[Any]]) -> None:
        """Publish what was just written down; a failure is left to `drain` and is not raised."""
        for envelope in envelopes:
            try:
                await self._publisher.publish(envelope)
            except Exception:  # noqa: BLE001 - whatever the bus raises: the entry stays, the relay retries
                log.warning("left to the relay", extra={"message_id": envelope.id, "type": envelope.type})
                return
            task = asyncio.create_task(self._mark_sent(document_id, envelope.id))
            self._marking.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._marking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("sent but not yet marked; the relay will", exc_info=task.exception())

    async def _mark_sent(self, document_id: str, envelope_id: str) -> None:
        await self._collection.update_one(
            {"_id": document_id, f"outbox.{envelope_id}": {"$exists": True}},
            {"$unset": {f"outbox.{envelope_id}": ""}, "$inc": {"outbox_count": -1}},
        )

    async def drain(self) -> int:
        """Publish every unsent message of the collection; return how many could be.

        A message that this version cannot read is left for one that can, and stops no other. Raises
        what the bus raises.
        """
        sent = 0
        cursor = self._collection.find({"outbox_count": {"$gt": 0}}, {"outbox": 1}).limit(_SCAN_BATCH)
        for document in await cursor.to_list(_SCAN_BATCH):
            for envelope_id, text in sorted(document.get("outbox", {}).items()):
                try:
                    envelope = read_envelope(text)
                except (KeyError, ValueError):
                    log.exception("unsent message cannot be read", extra={"message_id": envelope_id})
                    continue
                await self._publisher.publish(envelope)
                await self._mark_sent(document["_id"], envelope_id)
                sent += 1
        return sent

    async def settle(self) -> None:
        """Wait until every message sent so far is marked as sent."""
        if self._marking:
            await asyncio.gather(*self._marking, return_exceptions=True)
