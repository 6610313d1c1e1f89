"""Whether the servers and the services answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from vitrine_api.policy import Action, Member, require
from vitrine_common.messages.subjects import health_subject
from vitrine_common.service import Platform

SERVICES = ("api", "builder", "runner", "trainer", "monitor")
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether something answers, and how quickly."""

    ok: bool
    ms: float | None = None


class Health:
    """Asks around."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def services(self, member: Member) -> dict[str, Pulse]:
        """Return which services answer on the bus; operators only."""
        require(member, Action.OPERATE, None)
        pulses = await asyncio.gather(*(_pulse(partial(self._ask, name)) for name in SERVICES))
        return dict(zip(SERVICES, pulses, strict=True))

    async def servers(self) -> dict[str, Pulse]:
        """Return which of the three servers answer this process."""
        names = ("nats", "mongo", "s3")
        checks = (self._flush, self._platform.database.ping, self._platform.blobs.ensure_bucket)
        pulses = await asyncio.gather(*(_pulse(check) for check in checks))
        return dict(zip(names, pulses, strict=True))

    async def _ask(self, service: str) -> None:
        await self._platform.bus.client.request(health_subject(service), b"", timeout=_SECONDS)

    async def _flush(self) -> None:
        await self._platform.bus.client.flush(timeout=2)


async def _pulse(check: Callable[[], Awaitable[object]]) -> Pulse:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - whatever keeps it from answering, it does not answer
        return Pulse(ok=False)
    return Pulse(ok=True, ms=round((time.perf_counter() - started) * 1000, 1))
