"""What the builder does when a message arrives."""

from __future__ import annotations

from typing import Annotated

from faststream import Context
from faststream.nats import NatsRouter

from vitrine_builder.worker import Worker
from vitrine_common.bus import on
from vitrine_common.messages import BuildStart, Envelope, VersionDeleted

router = NatsRouter()


@on(router, "builder", "build.start")
async def build_start(envelope: Envelope[BuildStart], worker: Annotated[Worker, Context("worker")]) -> None:
    """Write the build down; acknowledged once it is, for from then on the document keeps it alive."""
    await worker.accept(envelope.payload.build_id, envelope.payload.request)


@on(router, "builder", "version.deleted")
async def version_deleted(
    envelope: Envelope[VersionDeleted], worker: Annotated[Worker, Context("worker")]
) -> None:
    """Delete the build that was made for the version."""
    await worker.erase(envelope.payload.build_id)
