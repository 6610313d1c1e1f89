"""Receipts are issued when a run's end is heard of."""

from __future__ import annotations

import logging

from faststream.nats import NatsRouter

from vitrine_api.receipts.issuing import ATTESTED, Receipts
from vitrine_api.receipts.signing import NoSigningKey
from vitrine_common.bus import on
from vitrine_common.errors import NotFound
from vitrine_common.messages import Envelope, RunFinished

log = logging.getLogger(__name__)


def make_router(receipts: Receipts) -> NatsRouter:
    """Return the handlers over `receipts`; a router belongs to one broker."""
    router = NatsRouter()

    async def run_finished(envelope: Envelope[RunFinished]) -> None:
        """Issue the run's receipt."""
        run_id = envelope.payload.run_id
        try:
            await receipts.issue_run(run_id)
        except NotFound as error:
            log.info("no receipt: %s", error.message, extra={"run": run_id})
        except NoSigningKey as error:
            log.warning("no receipt yet: %s", error.message, extra={"run": run_id})

    if receipts.signer.enabled:
        for state in sorted(ATTESTED):
            on(router, "api", f"run.{state.value}", concurrency=8)(run_finished)
    return router
