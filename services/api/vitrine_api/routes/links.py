"""Share links, for their owners."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from vitrine_api.dependencies import App, Pages, Who
from vitrine_api.descriptions import link_out
from vitrine_api.durations import parse_lifetime
from vitrine_api.link_wishes import parse_bytes, parse_rate
from vitrine_api.links import Wish, ends_at
from vitrine_api.models import parse_reference
from vitrine_api.resources import LinkOut, Listed
from vitrine_api.routes.accounts import Short, Strict
from vitrine_api.services import Services
from vitrine_common.documents import ShareLink

router = APIRouter(prefix="/api/v1", tags=["links"])

Lifetime = Annotated[str | None, Field(default=None, max_length=20, description="Such as `14d`.")]
Rate = Annotated[str | None, Field(default=None, max_length=20, description="Such as `20/h` or `100/d`.")]
Size = Annotated[str | None, Field(default=None, max_length=20, description="Such as `10MB`.")]
Runs = Annotated[int | None, Field(default=None, ge=1, le=1_000_000)]
Origins = Annotated[list[Short], Field(max_length=20, description="Origins that may frame it; `*`: any.")]


class LinkIn(Strict):
    """A wish for a link to the version that `ref` names now.

    `passcode` true makes one up, which is told once; text is one of one's own.
    """

    ref: str = Field(max_length=200)
    access: Literal["public", "link", "restricted"] = "link"
    passcode: Short | bool = False
    emails: list[Short] = Field(default=[], max_length=200)
    expires: Lifetime = None
    max_runs: Runs = None
    rate: Rate = None
    max_input: Size = None
    embed: Origins = []
    blind: bool = False
    label: Short = ""

    def wish(self) -> Wish:
        """Return the wish. Raises Invalid."""
        runs, seconds = parse_rate(self.rate) if self.rate else (None, 3600)
        given = self.passcode if isinstance(self.passcode, str) else ("" if self.passcode else None)
        return Wish(
            access=self.access,
            passcode=given,
            emails=self.emails,
            lifetime=parse_lifetime(self.expires) if self.expires else None,
            max_runs=self.max_runs,
            rate_runs=runs,
            rate_seconds=seconds,
            max_input_bytes=parse_bytes(self.max_input) if self.max_input else None,
            embed_origins=self.embed,
            blind=self.blind,
            label=self.label,
        )


class LinksIn(LinkIn):
    """A wish for several links alike, one for each recipient."""

    recipients: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        min_length=1, max_length=100
    )


class LinkEdit(Strict):
    """What shall be other than it is; what is left out stays. Null takes a limit away.

    `expires` counts from now.
    """

    expires: Lifetime = None
    max_runs: Runs = None
    rate: Rate = None
    max_input: Size = None
    embed: Origins = []
    label: Short = ""
    paused: bool = False

    def changes(self) -> dict[str, Any]:
        """Return the fields that were sent, as they are stored. Raises Invalid."""
        sent = self.model_fields_set
        found: dict[str, Any] = {name: getattr(self, name) for name in sent & {"max_runs", "label", "paused"}}
        if "expires" in sent:
            found["expires_at"] = ends_at(parse_lifetime(self.expires) if self.expires else None)
        if "rate" in sent:
            runs, seconds = parse_rate(self.rate) if self.rate else (None, 3600)
            found |= {"rate_runs": runs, "rate_seconds": seconds}
        if "max_input" in sent:
            found["max_input_bytes"] = parse_bytes(self.max_input) if self.max_input else None
        return found | ({"embed_origins": self.embed} if "embed" in sent else {})


@router.post("/links", status_code=201)
async def create(body: LinkIn, who: Who, app: App) -> LinkOut:
    """Share a version; the link's token, and a passcode that was made up, are shown this once."""
    (made,) = await app.links.create(who, parse_reference(body.ref), body.wish())
    return link_out(made.link, made.version, made=made, base_url=app.settings.base_url)


@router.post("/links/groups", status_code=201)
async def create_group(body: LinksIn, who: Who, app: App) -> Listed[LinkOut]:
    """Share a version by one link for each recipient; each link's token is shown this once."""
    made = await app.links.create(who, parse_reference(body.ref), body.wish(), body.recipients)
    base = app.settings.base_url
    return Listed(items=[link_out(one.link, one.version, made=one, base_url=base) for one in made])


@router.get("/links")
async def links(who: Who, app: App, paging: Pages) -> Listed[LinkOut]:
    """List one's links."""
    page = await app.links.page(who, paging.limit, paging.after)
    versions, use = await app.links.versions_of(page.items), await app.link_use.of(page.items)
    items = [link_out(link, versions.get(link.version_id), use[link.id]) for link in page.items]
    return Listed(items=items, next=page.next)


async def _shown(app: Services, link: ShareLink) -> LinkOut:
    versions, use = await app.links.versions_of([link]), await app.link_use.of([link])
    return link_out(link, versions.get(link.version_id), use[link.id])


@router.patch("/links/{link_id}")
async def edit(link_id: str, body: LinkEdit, who: Who, app: App) -> LinkOut:
    """Alter a link's end, limits, label or pause; open pages are told."""
    return await _shown(app, await app.links.edit(who, link_id, body.changes()))


@router.post("/links/{link_id}/unblind")
async def unblind(link_id: str, who: Who, app: App) -> LinkOut:
    """Tell a blind link's holders whose model it is, for good; its use stays aggregate."""
    return await _shown(app, await app.links.unblind(who, link_id))


@router.delete("/links/{link_id}", status_code=204)
async def revoke(link_id: str, who: Who, app: App) -> None:
    """Revoke a link at once; its waiting and working runs are cancelled."""
    await app.links.revoke(who, link_id)
