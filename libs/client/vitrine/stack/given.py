"""Asks servers that the operator gave, with the real drivers, whether they can be used.

Run as `python -m vitrine.stack.given`, a process of its own: drivers start threads, and the supervisor
forks. It prints what is wrong, one line a server, and exits with 1.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

_SECONDS = 5.0


async def _nats(url: str) -> None:
    import nats

    connection = await nats.connect(url, connect_timeout=_SECONDS, allow_reconnect=False, error_cb=_quiet)
    try:
        await connection.jetstream().account_info()
    finally:
        await connection.close()


async def _quiet(_error: Exception) -> None:
    """Keep the driver from printing what is raised anyway."""


async def _mongo(url: str) -> None:
    from motor.motor_asyncio import AsyncIOMotorClient

    client: AsyncIOMotorClient[dict[str, object]]
    client = AsyncIOMotorClient(url, serverSelectionTimeoutMS=int(_SECONDS * 1000))
    try:
        await client.admin.command("ping")
    finally:
        client.close()


async def _s3(endpoint: str) -> None:
    import httpx

    async with httpx.AsyncClient(timeout=_SECONDS) as client:
        await client.get(endpoint)


_CHECKS: tuple[tuple[str, Callable[[str], Awaitable[None]]], ...] = (
    ("VITRINE_NATS_URL", _nats),
    ("VITRINE_MONGO_URL", _mongo),
    ("VITRINE_S3_ENDPOINT", _s3),
)


async def _fault(variable: str, check: Callable[[str], Awaitable[None]]) -> str | None:
    value = os.environ.get(variable)
    if not value:
        return None
    try:
        async with asyncio.timeout(2 * _SECONDS):
            await check(value)
    except Exception as error:  # noqa: BLE001 - every driver has its own; all mean "cannot be used"
        reason = str(error).split(", Timeout:")[0] or type(error).__name__
        return f"The server of {variable} cannot be used: {reason}. Correct or unset {variable}."
    return None


async def _main() -> int:
    faults = await asyncio.gather(*(_fault(variable, check) for variable, check in _CHECKS))
    said = [fault for fault in faults if fault]
    sys.stdout.write("".join(f"{fault}\n" for fault in said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
