"""What the api does when a message arrives."""

from __future__ import annotations

from faststream.nats import NatsRouter

from vitrine_api.versions import Versions
from vitrine_common.bus import Poison, on
from vitrine_common.errors import Invalid, NotFound
from vitrine_common.messages import BuildFailed, BuildSucceeded, Envelope, VersionRegister


def make_router(versions: Versions) -> NatsRouter:
    """Return the api's handlers over `versions`; a router belongs to one broker."""
    router = NatsRouter()

    @on(router, "api", "build.succeeded", concurrency=8)
    async def build_succeeded(envelope: Envelope[BuildSucceeded]) -> None:
        """Make the versions that wait for this build ready."""
        await versions.build_succeeded(envelope.payload.build_id, envelope.payload.environment_digest)

    @on(router, "api", "build.failed", concurrency=8)
    async def build_failed(envelope: Envelope[BuildFailed]) -> None:
        """Tell the versions that wait for this build."""
        await versions.build_failed(envelope.payload.build_id, envelope.payload.reason)

    @on(router, "api", "version.register", concurrency=4)
    async def version_register(envelope: Envelope[VersionRegister]) -> None:
        """Make a version of what a trial made."""
        wish = envelope.payload
        try:
            await versions.register(wish.version_id, wish.manifest_digest, wish.trial_id)
        except (Invalid, NotFound) as error:
            raise Poison(error.message) from error

    return router
