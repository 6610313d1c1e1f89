"""What every service does alike: connect, declare, relay, reap, tell that it is ready, stop cleanly."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from typing import Any

import uvloop
from faststream import FastStream
from faststream.nats import NatsRouter

from vitrine_common.blobs import BlobStore
from vitrine_common.bus import Bus, make_broker
from vitrine_common.documents import COLLECTIONS
from vitrine_common.errors import Unavailable
from vitrine_common.settings import MetricsSettings, PlatformSettings, WorkSettings
from vitrine_common.store import Database
from vitrine_common.telemetry import configure_logging, configure_tracing, metrics

log = logging.getLogger(__name__)


@dataclass
class Platform:
    """The connections of one service process, passed to whatever needs them."""

    service: str
    settings: PlatformSettings
    work: WorkSettings
    bus: Bus
    database: Database
    blobs: BlobStore
    holder: str
    """This process's name in leases."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _ends: list[Callable[[], None]] = field(default_factory=list)

    def background(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `coroutine` until the service stops; an end before that is logged loudly."""
        task = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(_complain)
        self._tasks.append(task)
        return task

    async def _relay_forever(self) -> None:
        telling = self.database.telling
        while telling:
            for collection in telling:
                # Evenly: all at once would hold up whatever is asked for at that moment.
                await asyncio.sleep(self.work.relay_seconds / len(telling))
                try:
                    await collection.outbox.drain()
                except Exception as error:  # noqa: BLE001 - a server is away: look again in a moment
                    log.warning("relay will try again", extra={"error": repr(error)})

    def serve_metrics(self) -> None:
        """Let Prometheus read this process's metrics where the settings say. Raises Unavailable."""
        settings = MetricsSettings()
        if settings.port is None:
            return
        try:
            self._ends.append(metrics.serve(settings.host, settings.port, self.service))
        except OSError as error:
            address = f"{settings.host}:{settings.port}"
            message = f"metrics cannot be served at {address} ({error}); choose another VITRINE_METRICS_PORT"
            raise Unavailable(message) from error

    async def start(self) -> None:
        """Connect to the servers and declare streams, indexes and the bucket."""
        self.serve_metrics()
        await self.bus.connect()
        mine = [document for document in COLLECTIONS if self.service == document.WRITER]
        await self.database.ensure_indexes(mine)
        for document in mine:
            self.database.collection(document)
        await self.blobs.ensure_bucket()
        self.background(self._relay_forever(), "relay")

    async def stop(self) -> None:
        """Stop background work, settle the outboxes and close the connections."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
        for collection in self.database.telling:
            await collection.outbox.settle()
        self.database.close()
        await self.blobs.aclose()
        for end in self._ends:
            await asyncio.to_thread(end)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("background task %s died", task.get_name(), exc_info=task.exception())


def make_platform(service: str, settings: PlatformSettings | None = None) -> Platform:
    """Return the unconnected platform of `service`, with settings from the environment by default."""
    settings = settings or PlatformSettings()
    bus = Bus(make_broker(settings.nats, service), settings.nats, service)
    return Platform(
        service=service,
        settings=settings,
        work=WorkSettings(),
        bus=bus,
        database=Database(settings.mongo, service, bus),
        blobs=BlobStore(settings.s3),
        holder=f"{service}@{socket.gethostname()}:{os.getpid()}",
    )


def announce_ready(settings: PlatformSettings) -> None:
    """Tell whoever started this process that it is ready (one line on `VITRINE_READY_FD`)."""
    log.info("ready")
    if settings.ready_fd is not None:
        with suppress(OSError), os.fdopen(settings.ready_fd, "w") as pipe:
            pipe.write("ready\n")


@contextmanager
def needed(*errors: type[Exception]) -> Iterator[None]:
    """Around what a service cannot do without: `errors` end it with their sentence (see `run_service`)."""
    try:
        yield
    except errors as error:
        raise Unavailable(str(error)) from error


def run_service(
    service: str,
    routers: Sequence[NatsRouter],
    use: Callable[[Platform], AbstractAsyncContextManager[None]],
) -> None:
    """Run a service that lives on the bus alone, until SIGTERM or SIGINT.

    Args:
        service: its name.
        routers: its handlers.
        use: opened once the platform is connected and before messages arrive; closed while the bus
            still works. It wires the service's own parts.
    """
    configure_logging(service)
    configure_tracing(service)
    platform = make_platform(service)
    platform.bus.broker.include_routers(*routers)

    parts = AsyncExitStack()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            await platform.start()
            await parts.enter_async_context(use(platform))
            yield
        finally:
            await parts.aclose()
            await platform.stop()

    async def ready() -> None:
        announce_ready(platform.settings)

    app = FastStream(
        platform.bus.broker,
        lifespan=lifespan,
        after_startup=[ready],
        # The service's parts stop while the bus still works, so that they can say how their work ended.
        on_shutdown=[parts.aclose],
        logger=None,
    )
    try:
        with suppress(KeyboardInterrupt):
            uvloop.run(app.run())
    except* Unavailable as group:
        # What is missing on this machine is the operator's to read: the sentence, not where it was raised.
        for error in _leaves(group):
            log.critical("cannot start: %s", error)
        raise SystemExit(1) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
