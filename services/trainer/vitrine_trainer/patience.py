"""Waiting for a server that is away: hours of training must not be lost to a minute without a database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vitrine_common.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")
PAUSE_SECONDS = 1.0


async def insisting(call: Callable[[], Awaitable[T]]) -> T:
    """Return what `call` returns, calling again while a server is away.

    Within `WorkQueue.held` this ends at the latest when the lease is lost.
    """
    while True:
        try:
            return await call()
        except Unavailable as error:
            log.warning("a server is away; again in a moment", extra={"error": error.message})
        await asyncio.sleep(PAUSE_SECONDS)
