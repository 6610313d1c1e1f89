"""The use cases of venues, wired."""

from __future__ import annotations

from dataclasses import dataclass

from vitrine_api.blind_texts import BlindTexts
from vitrine_api.claims.checks import Checks
from vitrine_api.links import Links
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.models import Models
from vitrine_api.notifications import Notices
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Repository
from vitrine_api.runs import Runs
from vitrine_api.settings import ApiSettings
from vitrine_api.venues.assigning import Assignments
from vitrine_api.venues.deciding import Deciding
from vitrine_api.venues.hosting import Venues
from vitrine_api.venues.probing import Probes
from vitrine_api.venues.repository import VenueRepository
from vitrine_api.venues.reviewing import Reviews
from vitrine_api.venues.roster import Roster
from vitrine_api.venues.sharing import VenueLinks
from vitrine_api.venues.submitting import Submissions
from vitrine_common.service import Platform


@dataclass(frozen=True)
class VenueDesk:
    """What routes call."""

    repository: VenueRepository
    hosting: Venues
    submissions: Submissions
    roster: Roster
    assignments: Assignments
    reviews: Reviews
    probes: Probes
    deciding: Deciding


def wire_venues(  # noqa: PLR0917 - wired in one place
    platform: Platform,
    settings: ApiSettings,
    repository: Repository,
    models: Models,
    runs: Runs,
    checks: Checks,
    links: Links,
    texts: BlindTexts,
    mail: MailOutbox,
    notices: Notices,
) -> VenueDesk:
    """Return the use cases over those that they build on."""
    found, accounts = VenueRepository(platform.database), repository.accounts
    shared = VenueLinks(found, links, texts)
    guesses = RateLimit("unknown venue pages", settings.link_guess_rate)
    return VenueDesk(
        repository=found,
        hosting=Venues(found, accounts, shared, guesses),
        submissions=Submissions(found, accounts, models, shared, notices),
        roster=Roster(found, accounts, shared, mail, guesses, settings.base_url),
        assignments=Assignments(found, accounts, shared),
        reviews=Reviews(found, notices),
        probes=Probes(found, runs, checks, platform.holder, settings.venue_checks_at_once),
        deciding=Deciding(found, accounts, shared, notices),
    )
