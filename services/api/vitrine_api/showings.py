"""One request by a link: who asks, at which door, and where their pages begin.

The pages of a link stand at `/s/{token}`, where a cookie tells visitors apart, and at `/e/{token}/{visitor}`
for frames of other sites: those get no cookies at all, so the visitor's secret is part of the address, and
an account that is logged in does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from vitrine_api import permalinks, views
from vitrine_api.blindness import EVERYTHING, Sight
from vitrine_api.credentials import new_secret
from vitrine_api.dependencies import address_of
from vitrine_api.link_states import LinkLocked, ways_of
from vitrine_api.pages import Page, Visit, framed, set_cookie
from vitrine_api.policy import Visitor
from vitrine_api.presenters.runs import Reader, run_row
from vitrine_common.documents import Version
from vitrine_common.errors import Denied

VISITOR_COOKIE = "vitrine_visitor"
PASS_COOKIE = "vitrine_pass"  # noqa: S105 - the name of a cookie
_VISITOR_SECONDS = 90 * 24 * 3600
_HISTORY = 20


class NotForFrames(Denied):
    """A link that its owner has not opened to frames of other sites."""

    title = "This link cannot be embedded"


@dataclass
class Showing:
    """One request by a link."""

    visit: Visit
    token: str
    visitor: Visitor
    version: Version
    secret: str
    is_new: bool
    place: str
    """Where the link's pages begin."""
    sight: Sight = EVERYTHING
    run_key: str = ""
    """The key of a run whose address was handed on, where it opens the run."""

    @property
    def embedded(self) -> bool:
        """Whether a page of another site shows it."""
        return self.place.startswith("/e/")

    @property
    def reader(self) -> Reader:
        """What this visitor sees of their runs."""
        receipts = self.visit.services.receipts.signer.enabled
        return Reader(
            token=self.token,
            place=self.place,
            sight=self.sight,
            receipts=receipts,
            base_url=self.visit.services.settings.base_url,
            has_passcode=self.visitor.link.access == "restricted",
            link=None if self.embedded else self.visitor.link,
        )

    def answer(self, response: Response) -> Response:
        """Hand a new visitor their cookie, which goes to this link's pages alone; none in frames."""
        if self.embedded:
            return framed(self.visit.request, response, self.visitor.link.embed_origins)
        if self.is_new:
            services = self.visit.services
            set_cookie(
                response, services, VISITOR_COOKIE, self.secret, _VISITOR_SECONDS, path=f"/s/{self.token}"
            )
        if self.run_key:
            # What the run's page shows has addresses below it, which then need no key.
            run_id = self.visitor.shown_run
            path = f"{self.place}/runs/{run_id}"
            set_cookie(
                response, self.visit.services, permalinks.COOKIE, self.run_key, permalinks.SECONDS, path=path
            )
        self.visit.keep_guest(response)
        return response

    async def history(self) -> tuple[views.RunRow, ...]:
        """Return this visitor's newest runs."""
        page = await self.visit.services.runs.page_of_visitor(self.visitor, _HISTORY, None)
        return tuple(run_row(record, self.version, self.reader) for record in page.items)


async def showing_of(request: Request, visit: Page) -> Showing:
    """Return who holds the link. Raises NotFound, Gone, LinkPaused, LinkLocked, NotForFrames."""
    token = request.path_params["token"][:64]
    if request.url.path.startswith("/e/"):
        return await _framed_showing(request, visit, token)
    known = request.cookies.get(VISITOR_COOKIE)
    secret = known or new_secret(128)
    links, passed = visit.services.links, request.cookies.get(PASS_COOKIE)
    visitor = await links.visitor(token, secret, address=address_of(request), passed=passed)
    visitor, key = _with_shown_run(request, visitor)
    shown = await _showing(visit, token, visitor, secret, f"/s/{token}", is_new=known is None)
    shown.run_key = key
    return shown


def _with_shown_run(request: Request, visitor: Visitor) -> tuple[Visitor, str]:
    """Let a visitor see the run whose address was handed on; return also the key, if it opens the run."""
    run_id = request.path_params.get("run_id", "")[:64]
    key = (request.query_params.get("key") or request.cookies.get(permalinks.COOKIE) or "")[:64]
    if not run_id or not key or not permalinks.opens(visitor.link, run_id, key):
        return visitor, ""
    return replace(visitor, shown_run=run_id), key


async def _framed_showing(request: Request, visit: Visit, token: str) -> Showing:
    """Return the showing in a frame: known by its address alone, whatever cookies came along."""
    known = request.path_params.get("visitor")
    secret = known or new_secret(128)
    nobody = Visit(request, visit.services, None, secret)
    link = await visit.services.links.held(token, address_of(request))
    if not link.embed_origins:
        raise NotForFrames("its owner has not opened this link to pages of other sites")
    if link.access == "restricted":
        raise LinkLocked(ways_of(link))
    visitor = await visit.services.links.visitor(token, secret, address=address_of(request))
    place = f"/e/{token}/{secret}"
    return await _showing(nobody, token, visitor, secret, place, is_new=known is None)


async def _showing(
    visit: Visit, token: str, visitor: Visitor, secret: str, place: str, *, is_new: bool
) -> Showing:
    version = await visit.services.links.version(visitor)
    sight = await visit.services.sight(visitor, version)
    return Showing(visit, token, visitor, version, secret, is_new, place, sight)


Shown = Annotated[Showing, Depends(showing_of)]
