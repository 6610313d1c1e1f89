"""Venues, for their chairs; submitting, for authors."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from vitrine_api.dependencies import App, Pages, Who, address_of
from vitrine_api.models import parse_reference
from vitrine_api.policy import Action
from vitrine_api.resources import Listed
from vitrine_api.services import Services
from vitrine_api.venues.bodies import (
    BalanceIn,
    CallOut,
    DecisionIn,
    MatrixOut,
    PairIn,
    PublishIn,
    ReviewerOut,
    ReviewersIn,
    SubmissionIn,
    SubmissionOut,
    UnblindIn,
    VenueEdit,
    VenueIn,
    VenueOut,
    matrix_out,
    reviewer_out,
    submission_out,
    venue_out,
)
from vitrine_api.venues.hosting import takes_submissions
from vitrine_api.venues.matrix import as_csv, matrix_of
from vitrine_api.venues.plans import local_words, parse_roster
from vitrine_api.venues.submitting import Entry
from vitrine_common.documents import Venue

router = APIRouter(prefix="/api/v1", tags=["venues"])

_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}
VenueToken = Annotated[str, Path(max_length=64)]


@router.post("/venues", status_code=201)
async def create(body: VenueIn, who: Who, app: App) -> VenueOut:
    """Make a venue; for chairs and operators."""
    return venue_out(await app.venues.hosting.create(who, body.wish()), app.settings.base_url)


@router.get("/venues")
async def venues(who: Who, app: App, paging: Pages) -> Listed[VenueOut]:
    """List one's venues."""
    page = await app.venues.hosting.page(who, paging.limit, paging.after)
    return Listed(items=[venue_out(one, app.settings.base_url) for one in page.items], next=page.next)


@router.get("/venues/{venue_id}")
async def venue(venue_id: str, who: Who, app: App) -> VenueOut:
    """Show one of one's venues."""
    return venue_out(await app.venues.hosting.get(who, venue_id), app.settings.base_url)


@router.patch("/venues/{venue_id}")
async def edit(venue_id: str, body: VenueEdit, who: Who, app: App) -> VenueOut:
    """Alter a venue's name, description, deadline or quota."""
    return venue_out(await app.venues.hosting.edit(who, venue_id, body.changes()), app.settings.base_url)


@router.post("/venues/{venue_id}/close")
async def close(venue_id: str, who: Who, app: App) -> VenueOut:
    """End a venue: its pages and every link to a submission, at once."""
    return venue_out(await app.venues.hosting.close(who, venue_id), app.settings.base_url)


@router.delete("/venues/{venue_id}", status_code=204)
async def delete(venue_id: str, who: Who, app: App) -> None:
    """Delete a venue with its roster, submissions and reviews."""
    await app.venues.hosting.delete(who, venue_id)


@router.post("/venues/{venue_id}/reviewers", status_code=201)
async def add_reviewers(venue_id: str, body: ReviewersIn, who: Who, app: App) -> Listed[ReviewerOut]:
    """Put reviewers on the roster; each is mailed their page. Those who are on it are left out."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    listed = [f"{one.name} <{one.email}>;{' '.join(one.conflicts)}" for one in body.reviewers]
    added = await app.venues.roster.add(found, parse_roster("\n".join([*listed, body.lines])))
    return Listed(items=[reviewer_out(app.settings.base_url, found, one) for one in added])


@router.delete("/venues/{venue_id}/reviewers/{reviewer_id}", status_code=204)
async def remove_reviewer(venue_id: str, reviewer_id: str, who: Who, app: App) -> None:
    """Take a reviewer off the roster, with their reviews."""
    await app.venues.roster.remove(await app.venues.hosting.get(who, venue_id, Action.CHANGE), reviewer_id)


@router.post("/venues/{venue_id}/reviewers/{reviewer_id}/renew")
async def renew_reviewer(venue_id: str, reviewer_id: str, who: Who, app: App) -> ReviewerOut:
    """Give a reviewer's page a new address, which is mailed; the one before ends."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    return reviewer_out(app.settings.base_url, found, await app.venues.roster.renew(found, reviewer_id))


@router.post("/venues/{venue_id}/reminders", status_code=202)
async def remind(venue_id: str, who: Who, app: App) -> dict[str, int]:
    """Mail the reviewers who have not finished; nobody twice within twelve hours."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    return {"reminded": await app.venues.roster.remind(found)}


@router.post("/venues/{venue_id}/assignments", status_code=201)
async def assign(venue_id: str, body: PairIn, who: Who, app: App) -> dict[str, str]:
    """Have somebody review a submission."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    return {"id": (await app.venues.assignments.assign(found, body.submission_id, body.reviewer_id)).id}


@router.post("/venues/{venue_id}/assignments/balance")
async def balance(venue_id: str, body: BalanceIn, who: Who, app: App) -> dict[str, Any]:
    """Assign reviewers evenly, past conflicts of interest; `lacking` tells where too few are left."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    done = await app.venues.assignments.balance(found, body.per_submission)
    return {"made": done.made, "lacking": {str(number): count for number, count in done.lacking.items()}}


@router.delete("/venues/{venue_id}/assignments/{review_id}", status_code=204)
async def unassign(venue_id: str, review_id: str, who: Who, app: App) -> None:
    """Take a review away."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    await app.venues.assignments.unassign(found, review_id)


@router.post("/venues/{venue_id}/checks", status_code=202)
async def check(venue_id: str, who: Who, app: App) -> dict[str, int]:
    """Run every submission on an example and check its claims, a few at a time; failed ones again."""
    return {"asked": await app.venues.probes.ask(await app.venues.hosting.get(who, venue_id, Action.CHANGE))}


@router.get("/venues/{venue_id}/matrix")
async def matrix(venue_id: str, who: Who, app: App) -> MatrixOut:
    """Show submission by check, and how far reviewers are."""
    found = await app.venues.hosting.get(who, venue_id)
    return matrix_out(app.settings.base_url, await matrix_of(app.venues.repository, found))


@router.get("/venues/{venue_id}/export", response_class=Response, responses=_CSV)
async def export(venue_id: str, who: Who, app: App) -> Response:
    """Return the matrix as CSV."""
    return await csv_response(app, await app.venues.hosting.get(who, venue_id))


async def csv_response(app: Services, venue: Venue) -> Response:
    """Return the matrix of a venue that was checked already as a file."""
    text = as_csv(await matrix_of(app.venues.repository, venue))
    headers = {"Content-Disposition": 'attachment; filename="venue.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


@router.put("/venues/{venue_id}/submissions/{submission_id}/decision")
async def decide(venue_id: str, submission_id: str, body: DecisionIn, who: Who, app: App) -> dict[str, str]:
    """Write down a decision; authors learn it when decisions are published."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    changed = await app.venues.deciding.decide(found, submission_id, body.decision, body.note)
    return {"id": changed.id, "decision": changed.decision}


@router.put("/venues/{venue_id}/reviews/{review_id}/release", status_code=204)
async def release(venue_id: str, review_id: str, who: Who, app: App) -> None:
    """Let the author read a finished review once decisions are published."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    await app.venues.deciding.release(found, review_id, released=True)


@router.post("/venues/{venue_id}/publish")
async def publish(venue_id: str, body: PublishIn, who: Who, app: App) -> VenueOut:
    """Tell every author what was decided; reviewing ends."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    done = await app.venues.deciding.publish(found, release_all=body.release_reviews)
    return venue_out(done, app.settings.base_url)


@router.post("/venues/{venue_id}/unblind")
async def unblind(venue_id: str, body: UnblindIn, who: Who, app: App) -> VenueOut:
    """Tell the chair, and the reviewers if so wished, who submitted; after the decision, for good."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    done = await app.venues.deciding.unblind(found, reveal=body.reveal_to_reviewers)
    return venue_out(done, app.settings.base_url)


@router.get("/venues/{venue_id}/submissions/{submission_id}/openings")
async def openings(venue_id: str, submission_id: str, who: Who, app: App) -> Listed[dict[str, Any]]:
    """Return what opens the receipts of a submission's blind links, once the venue was un-blinded."""
    found = await app.venues.hosting.get(who, venue_id, Action.CHANGE)
    links = await app.venues.deciding.openable(found, submission_id)
    return Listed(items=[(await app.receipts.opening_of(link)).document() for link in links])


@router.get("/calls/{venue_token}")
async def call(venue_token: VenueToken, request: Request, who: Who, app: App) -> CallOut:
    """Show a venue to an author, with their own submissions."""
    found = await app.venues.hosting.by_token(venue_token, address_of(request))
    mine = await app.venues.submissions.mine(who, found)
    return CallOut(
        name=found.name,
        description=found.description,
        deadline=found.deadline,
        deadline_text=local_words(found.deadline, found.time_zone),
        takes_submissions=takes_submissions(found),
        blind=found.blind,
        mine=[submission_out(one, found) for one in mine],
    )


@router.post("/calls/{venue_token}/submissions", status_code=201)
async def submit(
    venue_token: VenueToken, body: SubmissionIn, request: Request, who: Who, app: App
) -> SubmissionOut:
    """Submit a version of one's own; the same paper id again replaces it until the deadline."""
    found = await app.venues.hosting.by_token(venue_token, address_of(request))
    entry = Entry(body.paper_id, body.title, body.conflicts)
    done = await app.venues.submissions.submit(who, found, parse_reference(body.ref), entry)
    return submission_out(done.submission, found, done.warnings)


@router.get("/submissions")
async def submissions(who: Who, app: App) -> Listed[SubmissionOut]:
    """List one's submissions to whatever venue."""
    found = await app.venues.submissions.all_mine(who)
    return Listed(items=[submission_out(one, venue) for one, venue in found])


@router.delete("/submissions/{submission_id}", status_code=204)
async def withdraw(submission_id: str, who: Who, app: App) -> None:
    """Take a submission back, until the deadline."""
    await app.venues.submissions.withdraw(who, submission_id)
