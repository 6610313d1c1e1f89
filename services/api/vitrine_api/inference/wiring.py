"""The parts of synchronous calls, put together once per process."""

from __future__ import annotations

from vitrine_api.inference.admission import Admissions
from vitrine_api.inference.calling import Calling
from vitrine_api.inference.journal import Journal
from vitrine_api.inference.leases import Leases
from vitrine_api.inference.recording import Recorder
from vitrine_api.inference.service import Inference
from vitrine_api.link_quota import Quota
from vitrine_api.links import Links
from vitrine_api.models import Models
from vitrine_api.quotas import Quotas
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Repository
from vitrine_api.settings import ApiSettings
from vitrine_api.tokens import Tokens
from vitrine_common.fleet import Fleet
from vitrine_common.freight import Carriage
from vitrine_common.service import Platform


def wire_inference(  # noqa: PLR0917 - called in one place
    platform: Platform,
    settings: ApiSettings,
    repository: Repository,
    tokens: Tokens,
    models: Models,
    links: Links,
    quotas: Quotas,
    fleet: Fleet,
) -> Inference:
    """Return the use cases of synchronous calls."""
    shared = platform.settings.shared_dir
    journal = Journal(settings.state_dir / "journal", settings.journal_sync_seconds)
    return Inference(
        Admissions(tokens, models, links),
        Calling(Carriage(shared, platform.blobs), shared, fleet),
        Leases(quotas, Quota(repository.links)),
        Recorder(journal, repository.runs.requests, repository.accounts, platform.bus),
        RateLimit("calls", settings.call_rate),
        fleet,
        settings.call_wait_seconds,
    )
