"""The store looked after while the builder lives: its size, and images in a daemon that nobody needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitrine_builder.collection import Collector
from vitrine_builder.images.docker import PARTIAL, REPOSITORY, Daemon
from vitrine_builder.workspace import Workspace
from vitrine_common.references import named
from vitrine_common.usage import environment_use
from vitrine_engine.docker.images import WITH_BYTECODE

log = logging.getLogger(__name__)


async def tend_forever(
    collector: Collector, daemon: Daemon | None, pause_seconds: float, report: dict[str, Any] | None = None
) -> None:
    """Collect what has to go, until cancelled, and put the store's size into `report`."""
    while True:
        try:
            size = (await asyncio.to_thread(collector.collect)).size
            if report is not None and size is not None:
                report["store"] = {"total": size.total, "limit": collector.limit, **asdict(size)}
            if daemon is not None:
                await asyncio.to_thread(remove_images, collector.workspace, daemon)
        except Exception:
            log.exception("the store will be looked at again")
        await asyncio.sleep(pause_seconds)


def remove_images(workspace: Workspace, daemon: Daemon) -> list[str]:
    """Remove the images that this store made of environments that are gone, and what nobody finishes.

    Returns the names of those environments. A daemon may serve several stores: images of others are theirs.
    What a container uses stays: the daemon refuses to remove it.
    """
    removed = []
    # A connection of its own: builds use theirs from another thread.
    with contextlib.closing(Daemon(daemon.url, daemon.timeout)) as own:
        images = [*_recorded(workspace), *_unfinished(own)]
        for name, environment, record in images:
            with workspace.uses.claims() as claims:
                # Builds use what they make, and runners what they run.
                if claims.take(environment_use(environment)) and own.inspect(name) is not None:
                    own.forget(name)
                    removed.append(environment)
                    if record is not None:
                        record.unlink(missing_ok=True)
    return removed


def _recorded(workspace: Workspace) -> Iterator[tuple[str, str, Path | None]]:
    """Yield images of environments that this store no longer has: name, environment, and the record of it."""
    for record in named(workspace.images / "records"):
        if not (workspace.root / record.name).is_dir():
            # The record goes last: what a kill leaves is found by it.
            yield f"{REPOSITORY}:{record.name}{WITH_BYTECODE}", record.name, None
            yield f"{REPOSITORY}:{record.name}", record.name, record


def _unfinished(daemon: Daemon) -> Iterator[tuple[str, str, Path | None]]:
    """Yield images that were begun for some environment; whoever still is at one uses its environment."""
    for image in daemon.client.images(filters={"label": PARTIAL}, all=True):
        yield image["Id"], image["Labels"][PARTIAL], None
