"""The AsyncAPI document of the whole system, generated from the routes: `python -m …asyncapi`."""

from __future__ import annotations

import json
import sys
from typing import Any

from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI

from vitrine_common.messages.envelope import Envelope, Exchange
from vitrine_common.messages.subjects import ROUTES, Route


def _describe(route: Route) -> str:
    kept = f"kept on the stream `{route.stream}`" if route.stream else "live, not kept"
    if issubclass(route.message, Exchange):
        kept = "request and reply: a head of this form behind its length (4 bytes, big endian), then tensors"
    receivers = ", ".join(route.receivers) or "whoever is interested"
    purpose = (route.message.__doc__ or "").split("\n")[0]
    return f"{purpose} Sent by {', '.join(route.senders)}; for {receivers}; {kept}."


def _schema(route: Route) -> Any:
    return route.message if issubclass(route.message, Exchange) else Envelope[route.message]  # type: ignore[name-defined]


def document() -> str:
    """Return the document as deterministic JSON text (AsyncAPI 3.0)."""
    broker = NatsBroker("nats://localhost:4222")
    for route in ROUTES:
        for subject in route.subjects:
            broker.publisher(
                subject,
                title=f"{route.message.TYPE} on {subject}",
                description=_describe(route),
                schema=_schema(route),
            )
    specification = AsyncAPI(
        broker,
        title="Vitrine",
        version="1",
        description="Every message between Vitrine's services; all but calls of models in one envelope.",
    )
    return json.dumps(json.loads(specification.to_specification().to_json()), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
