"""What happens to a message around its handler: context, acknowledgement, retry, dead letter.

Every subscriber of a stream is declared with a manual acknowledgement policy, and this middleware is
the only code that acknowledges:

- the handler returned: acknowledged;
- the message cannot be read, or the handler raised `Poison`: dead letter at once;
- the handler raised anything else: delivered again after a growing pause, at most `MAX_DELIVERIES`
  times, then a dead letter;
- the service was stopped: delivered again at once, to whoever is there.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from faststream import BaseMiddleware
from faststream.message import StreamMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from vitrine_common.messages.subjects import DEAD_PREFIX
from vitrine_common.telemetry import correlation, span

log = logging.getLogger(__name__)

MAX_DELIVERIES = 6
BACKOFF_SECONDS = (0.2, 1.0, 3.0, 10.0, 30.0)
REASON_HEADER = "Vitrine-Dead-Reason"
SUBJECT_HEADER = "Vitrine-Dead-Subject"


class Poison(Exception):
    """The message can never be handled; retrying is no use."""


class Delivery(BaseMiddleware):
    """Continues the sender's trace and correlation, and acknowledges as the module says."""

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> Any:
        """Run the handler and decide what becomes of the message."""
        raw: Msg = msg.raw_message
        head = _head_of(raw.data)
        kept = raw.reply.startswith("$JS.ACK") if raw.reply else False
        with (
            correlation(head.get("correlation_id")),
            span(f"handle {head.get('type', raw.subject)}", parent=head.get("trace"), subject=raw.subject),
        ):
            if not kept:
                return await call_next(msg)
            if "id" not in head:
                return await bury(raw, "not an envelope")
            try:
                result = await call_next(msg)
            except asyncio.CancelledError:
                await _unless_closed(raw.nak())
                raise
            except (ValidationError, Poison) as error:
                await bury(raw, f"cannot be handled: {error}")
            except Exception as error:  # noqa: BLE001 - whatever a handler raises has one of two ends
                await _retry_or_bury(raw, error)
            else:
                await raw.ack()
                return result
        return None


def _head_of(data: bytes) -> dict[str, Any]:
    try:
        head = json.loads(data)
    except ValueError:
        return {}
    return head if isinstance(head, dict) else {}


async def _unless_closed(acknowledgement: Awaitable[None]) -> None:
    try:
        await acknowledgement
    except Exception:
        log.debug("not acknowledged while stopping", exc_info=True)


async def _retry_or_bury(raw: Msg, error: Exception) -> None:
    deliveries = raw.metadata.num_delivered
    if deliveries >= MAX_DELIVERIES:
        await bury(raw, f"gave up after {deliveries} deliveries: {error!r}")
        return
    pause = BACKOFF_SECONDS[min(deliveries, len(BACKOFF_SECONDS)) - 1]
    log.warning("handler failed; again in %s s", pause, exc_info=error, extra={"subject": raw.subject})
    await raw.nak(delay=pause)


async def bury(raw: Msg, reason: str) -> None:
    """Put the message on the dead-letter stream, then end its delivery."""
    client: Client = raw._client  # noqa: SLF001 - the message knows its connection and offers no other way
    headers = {REASON_HEADER: reason.replace("\n", " ")[:1000], SUBJECT_HEADER: raw.subject}
    await client.jetstream().publish(f"{DEAD_PREFIX}.{raw.subject}", raw.data, headers=headers)
    await raw.term()
    log.error("dead letter", extra={"subject": raw.subject, "reason": reason})
