"""The broker: one factory, explicit acknowledgement, typed publishing."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeVar

from faststream import AckPolicy
from faststream.nats import ConsumerConfig, JStream, NatsBroker, NatsRouter, PullSub
from nats.aio.client import Client
from nats.js import JetStreamContext

from vitrine_common.bus.delivery import Delivery
from vitrine_common.bus.streams import ensure_streams
from vitrine_common.clock import utcnow
from vitrine_common.errors import Unavailable
from vitrine_common.messages import Envelope, Message, Progress, seal
from vitrine_common.messages.subjects import ROUTES, STATUS, health_subject
from vitrine_common.settings import NatsSettings

H = TypeVar("H", bound=Callable[..., Awaitable[None]])

ACK_WAIT_SECONDS = 30.0
"""A handler acknowledges as soon as its claim or change is written, so half a minute is ample."""

_PULL_SECONDS = 5.0
_PUBLISH_SECONDS = 5.0


def make_broker(settings: NatsSettings, service: str) -> NatsBroker:
    """Return an unconnected broker that reconnects for ever and acknowledges by `Delivery` alone."""
    return NatsBroker(
        settings.url,
        name=f"vitrine-{service}",
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        middlewares=(Delivery,),
        logger=None,
    )


def on(
    router: NatsRouter | NatsBroker, service: str, subject: str, *, concurrency: int = 1, purpose: str = ""
) -> Callable[[H], H]:
    """Subscribe a handler of `service` to a command's or event's subject.

    Durable: what was said while the service was away is heard when it is back, and several
    processes of one service share the work. The handler takes one `Envelope[...]`.

    Args:
        router: a router of the service, or its broker.
        service: part of the durable's name.
        subject: a subject or pattern of `vitrine_common.messages.subjects`.
        concurrency: how many messages one process handles at a time.
        purpose: tells handlers apart when a service has several of one fact; each hears it.
    """
    stream = next((route.stream for route in ROUTES if subject in route.subjects), None)
    if stream is None:
        raise ValueError(f"{subject} is kept by no stream; use on_live")
    name = f"{service}-{purpose}" if purpose else service
    durable = f"{name}-{subject.replace('.', '-').replace('*', 'any')}"
    return router.subscriber(  # type: ignore[return-value]
        subject,
        # The streams are declared in `bus.streams`; the broker must not change them.
        stream=JStream(stream, declare=False),
        durable=durable,
        config=ConsumerConfig(ack_wait=ACK_WAIT_SECONDS, max_deliver=-1, max_ack_pending=1000),
        # One message a request: several at once stall when a consumer of the same durable goes away.
        pull_sub=PullSub(batch_size=1, timeout=_PULL_SECONDS),
        ack_policy=AckPolicy.MANUAL,
        max_workers=concurrency,
    )


def on_live(router: NatsRouter | NatsBroker, subject: str) -> Callable[[H], H]:
    """Subscribe a handler to live news; every process hears each, and nothing is kept."""
    return router.subscriber(subject, ack_policy=AckPolicy.MANUAL)  # type: ignore[return-value]


class Bus:
    """Sends messages. One per process.

    Args:
        broker: from `make_broker`.
        settings: for the streams' replicas.
        service: whose health this process answers for.
    """

    def __init__(self, broker: NatsBroker, settings: NatsSettings, service: str) -> None:
        self.broker = broker
        self._settings = settings
        self.report: dict[str, Any] = {}
        """What this process tells operators beside its name: what holds of its sandboxes, say."""
        self.describe: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
        """Called for what is to be told beside `report`, and measured at that moment."""
        self._about = about_process(service)
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None
        broker.subscriber(health_subject(service), ack_policy=AckPolicy.MANUAL)(_healthy)
        broker.subscriber(STATUS, ack_policy=AckPolicy.MANUAL)(self._tell_status)

    async def connect(self) -> None:
        """Connect and declare the streams; the broker's subscribers start later, with the app."""
        self._client = await self.broker.connect()
        self._jetstream = self._client.jetstream(timeout=_PUBLISH_SECONDS)
        await ensure_streams(self._jetstream, self._settings.replicas)

    @property
    def client(self) -> Client:
        """The connection; raises Unavailable before `connect`."""
        if self._client is None:
            raise Unavailable("the bus is not connected")
        return self._client

    async def publish(self, envelope: Envelope[Any]) -> None:
        """Publish to the stream that keeps the subject; returns once the server keeps it."""
        if self._jetstream is None or not self.client.is_connected:
            raise Unavailable("the bus is not connected")
        await self._jetstream.publish(
            envelope.payload.subject(),
            envelope.model_dump_json().encode(),
            headers={"Nats-Msg-Id": envelope.id, **envelope.trace},
        )

    async def send(self, message: Message) -> None:
        """Publish a command or fact that no document carries."""
        await self.publish(seal(message))

    async def tell(self, news: Progress) -> None:
        """Send live news; nobody listening, or a bus that is away, is fine."""
        if self._client is not None and self._client.is_connected:
            await self._client.publish(news.subject(), seal(news).model_dump_json().encode())

    async def _tell_status(self, asked: dict[str, Any] | bytes | None = None) -> dict[str, Any]:
        del asked  # there is one answer
        measured = await self.describe() if self.describe is not None else {}
        return {**self._about, "report": {**self.report, **measured}}

    @property
    def connected(self) -> bool:
        """Whether the server answers at present."""
        return self._client is not None and self._client.is_connected


def about_process(service: str) -> dict[str, Any]:
    """Return what tells this process from others: service, holder, version, and since when it runs."""
    return {
        "service": service,
        "holder": f"{service}@{socket.gethostname()}:{os.getpid()}",
        "version": version("vitrine-common"),
        "started_at": utcnow().isoformat(),
    }


async def _healthy(_: dict[str, Any] | bytes | None = None) -> str:
    return "ok"
