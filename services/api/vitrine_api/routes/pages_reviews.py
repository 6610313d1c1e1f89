"""Pages of venues by token: where authors submit, and where reviewers review without an account."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from vitrine_api.dependencies import address_of
from vitrine_api.forms import text_of
from vitrine_api.models import parse_reference
from vitrine_api.pages import Page, Visit, see
from vitrine_api.presenters.venues import my_submission, reviewer_page
from vitrine_api.routes.pages_venues import long_text, problems_of
from vitrine_api.venues.hosting import takes_submissions
from vitrine_api.venues.plans import local_words
from vitrine_api.venues.reviewing import MAX_NOTES, Written
from vitrine_api.venues.submitting import Entry
from vitrine_api.views import FieldProblem, VersionOption
from vitrine_api.views import venues as shown
from vitrine_common.documents import Venue
from vitrine_common.errors import Conflict, Invalid, NotFound, VitrineError
from vitrine_common.states import VersionState

router = APIRouter(include_in_schema=False)

_MODELS, _VERSIONS = 50, 10
VERDICT = "verdict."


@router.get("/v/{venue_token}")
async def call(venue_token: str, visit: Page) -> Response:
    """Show a venue to an author, with the form to submit."""
    token = venue_token[:64]
    found = await visit.services.venues.hosting.by_token(token, address_of(visit.request))
    return visit.page(await _call(visit, token, found))


async def _call(
    visit: Visit,
    token: str,
    venue: Venue,
    sent: FormData | None = None,
    *,
    error: VitrineError | None = None,
    warnings: tuple[str, ...] = (),
) -> shown.CallPage:
    texts = (
        {name: text_of(sent, name) for name in ("version", "paper_id", "title", "conflicts")} if sent else {}
    )
    desk = visit.services.venues
    mine = await desk.submissions.mine(visit.member, venue)
    versions = await desk.repository.versions([one.version_id for one in mine])
    rows = [
        my_submission(venue, one, versions.get(one.version_id), await desk.repository.reviews_about(one.id))
        for one in mine
    ]
    return shown.CallPage(
        token=token,
        name=venue.name,
        description=venue.description,
        deadline=local_words(venue.deadline, venue.time_zone),
        takes_submissions=takes_submissions(venue),
        blind=bool(venue.blind),
        versions=await _options(visit),
        mine=tuple(rows),
        warnings=warnings,
        problems=problems_of(error),
        **texts,
    )


async def _options(visit: Visit) -> tuple[VersionOption, ...]:
    services, who = visit.services, visit.member
    found: list[VersionOption] = []
    for model in (await services.models.page(who, _MODELS, None)).items:
        versions = (await services.models.versions(who, model, _VERSIONS, None)).items
        ready = [one.reference for one in versions if one.state is VersionState.READY]
        found += [VersionOption(value=reference, reference=reference) for reference in ready]
    return tuple(found)


@router.post("/v/{venue_token}")
async def submit(venue_token: str, visit: Page, request: Request) -> Response:
    """Submit, replace or withdraw."""
    who, token, desk = visit.member, venue_token[:64], visit.services.venues
    async with request.form() as form:
        visit.check_form(form)
        venue = await desk.hosting.by_token(token, address_of(request))
        withdrawn = text_of(form, "withdraw")
        try:
            if withdrawn:
                await desk.submissions.withdraw(who, withdrawn)
                return see(f"/v/{token}")
            words = text_of(form, "conflicts").replace(",", " ").split()
            entry = Entry(text_of(form, "paper_id"), text_of(form, "title"), words)
            reference = parse_reference(text_of(form, "version"))
            done = await desk.submissions.submit(who, venue, reference, entry)
        except (Invalid, Conflict, NotFound) as error:
            return visit.page(await _call(visit, token, venue, form, error=error), error.status)
    if done.warnings:
        return visit.page(await _call(visit, token, venue, warnings=done.warnings), 201)
    return see(f"/v/{token}")


@router.get("/r/{reviewer_token}")
async def reviewer(reviewer_token: str, visit: Page) -> Response:
    """Show a reviewer everything that they have to review."""
    return visit.page(await _reviewer(visit, reviewer_token[:64]))


async def _reviewer(
    visit: Visit, token: str, refused: dict[str, tuple[FieldProblem, ...]] | None = None
) -> shown.ReviewerPage:
    desk = visit.services.venues
    referee, venue = await desk.roster.referee(token, address_of(visit.request))
    tasks = await desk.reviews.tasks(referee, venue)
    return reviewer_page(venue, referee.reviewer, token, tasks, refused or {})


@router.post("/r/{reviewer_token}/reviews/{review_id}")
async def write(reviewer_token: str, review_id: str, visit: Page, request: Request) -> Response:
    """Keep what a reviewer wrote; scripts send it while it is being written."""
    token, desk = reviewer_token[:64], visit.services.venues
    referee, venue = await desk.roster.referee(token, address_of(request))
    async with request.form() as form:
        visit.check_form(form)
        try:
            review = await desk.reviews.save(referee, venue, review_id, _written(form))
        except (Invalid, Conflict) as error:
            if visit.by_script:
                return visit.page(shown.ReviewSaved(saved_at=None, problem=error.message), error.status)
            page = await _reviewer(visit, token, {review_id: problems_of(error)})
            return visit.page(page, error.status)
    if visit.by_script:
        return visit.page(shown.ReviewSaved(saved_at=review.saved_at))
    return see(f"/r/{token}#{review_id}")


def _written(form: FormData) -> Written:
    verdicts = {
        key.removeprefix(VERDICT): value
        for key, value in form.multi_items()
        if key.startswith(VERDICT) and isinstance(value, str)
    }
    finish = text_of(form, "finish")
    return Written(
        verdicts=verdicts,
        overall=text_of(form, "overall") if "overall" in form else None,
        notes=long_text(form, "notes", MAX_NOTES + 1) if "notes" in form else None,
        comment=long_text(form, "comment", MAX_NOTES + 1) if "comment" in form else None,
        finished=bool(int(finish)) if finish in {"0", "1"} else None,
    )
