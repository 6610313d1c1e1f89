"""Pages: models, versions, how a version does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from vitrine_api import views
from vitrine_api.cards import card_of
from vitrine_api.models import Reference
from vitrine_api.pages import Page, Visit
from vitrine_api.policy import Action, allows
from vitrine_api.presenters.environments import environment_summary
from vitrine_api.presenters.links import link_rows
from vitrine_api.presenters.models import (
    build_events,
    build_view,
    diff_url,
    facts,
    file_rows,
    interface_rows,
    lineage_facts,
    version_rows,
    version_url,
)
from vitrine_api.presenters.monitoring import monitor_summary
from vitrine_api.presenters.runs import run_row
from vitrine_api.presenters.trials import trial_row
from vitrine_api.routes.pages_claims import owner_table
from vitrine_api.routes.pages_runs import reader_of
from vitrine_api.routes.versions import follow_version
from vitrine_api.specs import spec_of
from vitrine_api.streams import event_stream
from vitrine_common.documents import ShareLink, Version
from vitrine_common.errors import NotFound

router = APIRouter(include_in_schema=False)

_ROWS = 20
_VERSIONS = 25
_LINKS = 100
After = Annotated[str, Query(max_length=40)]
Text = Annotated[str, Path(max_length=80)]


@router.get("/models/{owner}/{name}")
async def model(owner: Text, name: Text, visit: Page, after: After = "") -> Response:
    """Show a model: its versions, newest runs, links and trainings."""
    services, who = visit.services, visit.member
    found = await services.models.model(who, owner, name)
    page_ = await services.models.versions(who, found, _VERSIONS, after or None)
    versions = page_.items
    runs = await asyncio.gather(*(services.runs.page(who, 5, None, version) for version in versions[:4]))
    by_id = {version.id: version for version in versions}
    records = sorted(
        (record for page in runs for record in page.items),
        key=lambda record: record.request.created_at,
        reverse=True,
    )
    trials = (await services.training.page(who, 50, None)).items
    links = await _links_of(visit, versions)
    url = f"/models/{owner}/{name}"
    return visit.page(
        views.Model(
            owner=owner,
            name=name,
            title=name,
            versions=version_rows(versions),
            paging=views.Paging(
                newer_url=url if after else None,
                older_url=f"{url}?{urlencode({'after': page_.next})}" if page_.next else None,
            ),
            description=found.description,
            runs=tuple(
                run_row(item, by_id[item.request.version_id], reader_of(visit, item)) for item in records
            ),
            links=link_rows(links, by_id, await services.link_use.of(links)),
            trials=tuple(trial_row(item) for item in trials if item.request.model == name),
            owned=allows(who, Action.CHANGE, found),
        )
    )


async def _links_of(visit: Visit, versions: Sequence[Version]) -> list[ShareLink]:
    """Return the links of versions that this account made, the newest first."""
    links = visit.services.repository.links
    found = await asyncio.gather(*(links.of_version(version.id) for version in versions))
    mine = [link for some in found for link in some if allows(visit.member, Action.SEE, link)]
    return sorted(mine, key=lambda link: link.created_at, reverse=True)[:_LINKS]


@router.get("/models/{owner}/{name}/versions/{version}")
async def version(owner: Text, name: Text, version: Text, visit: Page) -> Response:
    """Show a version."""
    services, who = visit.services, visit.member
    found = await services.models.version(who, Reference(owner, name, version))
    spec = spec_of(found)
    manifest = await services.models.manifest(found)
    runs = (await services.runs.page(who, _ROWS, None, found)).items
    bundles = services.repository.bundles
    environment = await services.environments.find(found)
    build = await bundles.build(found.build_id) if found.build_id else None
    summary = await services.monitoring.summary(who, found)
    links = await _links_of(visit, [found])
    previous = await bundles.version_before(found)
    return visit.page(
        views.Version(
            owner=owner,
            name=name,
            title=name,
            version=str(found.number),
            digest=found.digest,
            state=found.state.value,
            created_at=found.created_at,
            model_url=f"/models/{owner}/{name}",
            monitor_url=f"{version_url(found)}/monitor",
            diff_url=diff_url(previous, found) if previous else "",
            description=spec.description or "",
            card=await card_of(services, found, manifest),
            facts=facts(spec, found),
            inputs=interface_rows(spec.effective_inputs()),
            outputs=interface_rows(spec.effective_outputs()),
            files=file_rows(manifest),
            build=build_view(found, build),
            environment=environment_summary(environment, version_url(found)),
            lineage=lineage_facts(found),
            claims=await owner_table(visit, found),
            monitor=monitor_summary(summary) if summary.runs else None,
            runs=tuple(run_row(item, found, reader_of(visit, item)) for item in runs),
            links=link_rows(links, {found.id: found}, await services.link_use.of(links)),
            owned=allows(who, Action.CHANGE, found),
        )
    )


@router.get("/models/{owner}/{name}/versions/{version}/monitor")
async def monitor(owner: Text, name: Text, version: Text, visit: Page) -> Response:
    """Show how a version does."""
    who = visit.member
    found = await visit.services.models.version(who, Reference(owner, name, version))
    summary = await visit.services.monitoring.summary(who, found)
    return visit.page(
        views.Monitor(
            reference=found.reference, version_url=version_url(found), summary=monitor_summary(summary)
        )
    )


@router.get("/builds/{build_id}/events")
async def build_stream(build_id: Text, visit: Page) -> Response:
    """Follow the making of a version's environment, as fragments."""
    services, who = visit.services, visit.member
    found = await _version_of_build(visit, build_id)
    build = await services.repository.bundles.build(build_id)
    follower = await follow_version(services, who, found.id)
    return await event_stream(follower, build_events(lambda _: build, partial(visit.render)))


async def _version_of_build(visit: Visit, build_id: str) -> Version:
    found = await visit.services.repository.bundles.version(build_id=build_id)
    if found is None or not allows(visit.member, Action.SEE, found):
        raise NotFound(f"there is no build {build_id}")
    return found
