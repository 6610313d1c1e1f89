"""Pages of venues: the chair's, the authors', the reviewers'."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from vitrine_api.forms import text_of, texts_of
from vitrine_api.pages import Page, Visit, field_problems, see
from vitrine_api.policy import Action, allows
from vitrine_api.presenters.venues import my_submission, submission_page, venue_page, venue_row
from vitrine_api.routes.venues import csv_response
from vitrine_api.venues.matrix import matrix_of
from vitrine_api.venues.plans import AUTOMATIC, DECISIONS, MANUAL, VenueWish, parse_roster
from vitrine_api.views import FieldProblem
from vitrine_api.views import venues as shown
from vitrine_common.documents import Venue
from vitrine_common.errors import Conflict, Invalid, NotFound, Problem, VitrineError

router = APIRouter(include_in_schema=False)

_LISTED = 200
MAX_LONG = 50_000


def long_text(form: FormData, name: str, most: int = MAX_LONG) -> str:
    """Return a text that may be longer than other fields."""
    value = form.get(name)
    return value[:most].replace("\r\n", "\n") if isinstance(value, str) else ""


def problems_of(error: VitrineError | None) -> tuple[FieldProblem, ...]:
    """Return what is wrong, for a form."""
    if error is None:
        return ()
    return field_problems(error.problems) or (FieldProblem(field="", message=error.message),)


@router.get("/venues")
async def venues(visit: Page) -> Response:
    """List the venues that one chairs, and what one submitted."""
    return visit.page(await _venues(visit, _form(None)))


async def _venues(visit: Visit, form: shown.VenueForm) -> shown.Venues:
    desk, who = visit.services.venues, visit.member
    found = await desk.hosting.page(who, _LISTED, None)
    mine = [pair for pair in await desk.submissions.all_mine(who) if pair[0].withdrawn_at is None]
    versions = await desk.repository.versions([one.version_id for one, _ in mine])
    return shown.Venues(
        rows=tuple(venue_row(one) for one in found.items),
        submissions=tuple(my_submission(venue, one, versions.get(one.version_id)) for one, venue in mine),
        form=form if allows(who, Action.CHAIR, None) else None,
    )


def _form(sent: FormData | None, error: VitrineError | None = None) -> shown.VenueForm:
    chosen = set(AUTOMATIC) if sent is None else set(texts_of(sent, "automatic"))
    automatic = tuple((value, words, value in chosen) for value, words in AUTOMATIC.items())
    if sent is None:
        return shown.VenueForm(automatic=automatic, manual="\n".join(MANUAL), decisions="\n".join(DECISIONS))
    names = ("name", "deadline", "time_zone", "max_runs")
    return shown.VenueForm(
        **{name: text_of(sent, name) for name in names},
        description=long_text(sent, "description"),
        manual=long_text(sent, "manual"),
        decisions=long_text(sent, "decisions"),
        blind=bool(text_of(sent, "blind")),
        hidden_from_chair=bool(text_of(sent, "hidden_from_chair")),
        automatic=automatic,
        problems=problems_of(error),
    )


@router.post("/venues")
async def create(visit: Page, request: Request) -> Response:
    """Make a venue."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        try:
            made = await visit.services.venues.hosting.create(who, _wish(form))
        except Invalid as error:
            return visit.page(await _venues(visit, _form(form, error)), error.status)
    return see(f"/venues/{made.id}")


def _wish(form: FormData) -> VenueWish:
    return VenueWish(
        name=text_of(form, "name"),
        description=long_text(form, "description"),
        deadline=text_of(form, "deadline"),
        time_zone=text_of(form, "time_zone").strip(),
        blind=bool(text_of(form, "blind")),
        hidden_from_chair=bool(text_of(form, "hidden_from_chair")),
        max_runs=_quota(form),
        automatic=[name for name in texts_of(form, "automatic") if name in AUTOMATIC],
        manual=long_text(form, "manual").splitlines(),
        decisions=long_text(form, "decisions").splitlines(),
    )


def _quota(form: FormData) -> int | None:
    text = text_of(form, "max_runs").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000_000:
        return int(text)
    message = "take a whole number from 1 to 1,000,000, or nothing for no limit"
    raise Invalid(f"max_runs: {message}", (Problem("max_runs", message),))


@router.get("/venues/{venue_id}")
async def venue(venue_id: str, visit: Page) -> Response:
    """Show a venue to its chair."""
    return visit.page(await _venue(visit, venue_id))


async def _venue(
    visit: Visit, venue_id: str, error: VitrineError | None = None, roster_text: str = ""
) -> shown.VenuePage:
    found = await visit.services.venues.hosting.get(visit.member, venue_id)
    matrix = await matrix_of(visit.services.venues.repository, found)
    return venue_page(matrix, visit.services.settings.base_url, problems_of(error), roster_text)


@router.get("/venues/{venue_id}/matrix.csv")
async def export(venue_id: str, visit: Page) -> Response:
    """Return the matrix as CSV."""
    return await csv_response(visit.services, await visit.services.venues.hosting.get(visit.member, venue_id))


@router.post("/venues/{venue_id}/delete")
async def delete(venue_id: str, visit: Page, request: Request) -> Response:
    """Delete a venue."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
    await visit.services.venues.hosting.delete(who, venue_id)
    return see("/venues")


@router.post("/venues/{venue_id}/{wish}")
async def change(venue_id: str, wish: str, visit: Page, request: Request) -> Response:
    """Do what a form of the chair's page wishes; what is refused is said on the page."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        found = await visit.services.venues.hosting.get(who, venue_id, Action.CHANGE)
        try:
            await _change(visit, found, wish, form)
        except (Invalid, Conflict) as error:
            page = await _venue(visit, venue_id, error, long_text(form, "reviewers"))
            return visit.page(page, error.status)
    return see(f"/venues/{venue_id}")


async def _change(  # noqa: C901 - a table of wishes
    visit: Visit, venue: Venue, wish: str, form: FormData
) -> None:
    desk = visit.services.venues
    match wish:
        case "settings":
            await desk.hosting.edit(visit.member, venue.id, _changes(form))
        case "reviewers":
            await desk.roster.add(venue, parse_roster(long_text(form, "reviewers")))
        case "remind":
            await desk.roster.remind(venue, texts_of(form, "reviewer") or None)
        case "renew":
            await desk.roster.renew(venue, text_of(form, "reviewer"))
        case "remove":
            await desk.roster.remove(venue, text_of(form, "reviewer"))
        case "balance":
            await desk.assignments.balance(venue, _each(form))
        case "checks":
            await desk.probes.ask(venue)
        case "publish":
            await desk.deciding.publish(venue, release_all=bool(text_of(form, "release")))
        case "unblind":
            await desk.deciding.unblind(venue, reveal=bool(text_of(form, "reveal")))
        case "close":
            await desk.hosting.close(visit.member, venue.id)
        case _:
            raise NotFound(f"a venue knows no {wish[:40]}")


def _changes(form: FormData) -> dict[str, object]:
    names = ("name", "deadline", "time_zone")
    texts = {name: text_of(form, name).strip() for name in names}
    return {**texts, "description": long_text(form, "description"), "max_runs": _quota(form)}


def _each(form: FormData) -> int:
    text = text_of(form, "per_submission").strip()
    if text.isascii() and text.isdigit() and 1 <= int(text[:3]) <= 20:
        return int(text)
    message = "take a whole number from 1 to 20"
    raise Invalid(f"per_submission: {message}", (Problem("per_submission", message),))


@router.get("/venues/{venue_id}/submissions/{submission_id}")
async def submission(venue_id: str, submission_id: str, visit: Page) -> Response:
    """Show a submission to the chair: checks, reviews, decision."""
    return visit.page(await _submission(visit, venue_id, submission_id))


async def _submission(
    visit: Visit, venue_id: str, submission_id: str, error: VitrineError | None = None
) -> shown.VenueSubmissionPage:
    desk = visit.services.venues
    found = await desk.hosting.get(visit.member, venue_id)
    matrix = await matrix_of(desk.repository, found)
    row = next((one for one in matrix.rows if one.submission.id == submission_id), None)
    if row is None:
        raise NotFound(f"there is no venue submission {submission_id}")
    people = [one.reviewer for one in matrix.progress]
    conflicts = await desk.assignments.conflicts([row.submission], people)
    return submission_page(found, row, matrix.progress, conflicts, problems_of(error))


@router.post("/venues/{venue_id}/submissions/{submission_id}/{wish}")
async def change_submission(
    venue_id: str, submission_id: str, wish: str, visit: Page, request: Request
) -> Response:
    """Assign, take away, release, decide, check."""
    who = visit.member
    async with request.form() as form:
        visit.check_form(form)
        found = await visit.services.venues.hosting.get(who, venue_id, Action.CHANGE)
        try:
            await _change_submission(visit, found, submission_id, wish, form)
        except (Invalid, Conflict) as error:
            return visit.page(await _submission(visit, venue_id, submission_id, error), error.status)
    return see(f"/venues/{venue_id}/submissions/{submission_id}")


async def _change_submission(
    visit: Visit, venue: Venue, submission_id: str, wish: str, form: FormData
) -> None:
    desk, review_id = visit.services.venues, text_of(form, "review")
    match wish:
        case "assign":
            await desk.assignments.assign(venue, submission_id, text_of(form, "reviewer"))
        case "unassign":
            await desk.assignments.unassign(venue, review_id)
        case "release":
            await desk.deciding.release(venue, review_id, released=True)
        case "withhold":
            await desk.deciding.release(venue, review_id, released=False)
        case "checks":
            await desk.probes.ask(venue, [submission_id])
        case "decision":
            decision, note = text_of(form, "decision"), long_text(form, "note")
            await desk.deciding.decide(venue, submission_id, decision, note)
        case _:
            raise NotFound(f"a submission knows no {wish[:40]}")
