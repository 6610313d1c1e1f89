"""What the api does when it hears of a check's end."""

from __future__ import annotations

import logging

from faststream.nats import NatsRouter

from vitrine_api.claims.attesting import Attesting
from vitrine_api.receipts.signing import NoSigningKey
from vitrine_common.bus import on
from vitrine_common.errors import NotFound
from vitrine_common.messages import ClaimChecked, Envelope

log = logging.getLogger(__name__)


def make_router(attesting: Attesting) -> NatsRouter:
    """Return the handlers over `attesting`; a router belongs to one broker."""
    router = NatsRouter()

    @on(router, "api", "claim.checked", concurrency=4)
    async def claim_checked(envelope: Envelope[ClaimChecked]) -> None:
        """Have the check's receipt issued."""
        check_id = envelope.payload.check_id
        try:
            await attesting.checked(check_id)
        except NotFound as error:
            log.info("no receipt: %s", error.message, extra={"check": check_id})
        except NoSigningKey as error:
            log.warning("no receipt yet: %s", error.message, extra={"check": check_id})

    return router
