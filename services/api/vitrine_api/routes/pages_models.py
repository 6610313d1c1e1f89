"""Pages: models, versions, how a version does."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path
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
    facts,
    file_rows,
    interface_rows,
    lineage_facts,
    version_row,
    version_url,
)
from vitrine_api.presenters.monitoring import monitor_summary
from vitrine_api.presenters.runs import run_row
from vitrine_api.presenters.trials import trial_row
from vitrine_api.routes.pages_claims import owner_table
from vitrine_api.routes.pages_runs import reader_of
from vitrine_api.routes.versions import follow_version
from vitrine_api.streams import event_stream
from vitrine_common.documents import ShareLink, Version
from vitrine_common.errors import NotFound
from vitrine_common.spec import Spec

router = APIRouter(include_in_schema=False)

_ROWS = 20
Text = Annotated[str, Path(max_length=80)]


@router.get("/models/{owner}/{name}")
async def model(owner: Text, name: Text, visit: Page) -> Response:
    """Show a model: its versions, newest runs, links and trainings."""
    services, who = visit.services, visit.member
    found = await services.models.model(who, owner, name)
    versions = (await services.models.versions(who, found, 50, None)).items
    runs = [await services.runs.page(who, 5, None, version) for version in versions[:4]]
    by_id = {version.id: version for version in versions}
    records = sorted(
        (record for page in runs for record in page.items),
        key=lambda record: record.request.created_at,
        reverse=True,
    )
    trials = (await services.training.page(who, 50, None)).items
    links = await _links_of(visit, set(by_id))
    return visit.page(
        views.Model(
            owner=owner,
            name=name,
            title=name,
            versions=tuple(version_row(version) for version in versions),
            description=found.description,
            runs=tuple(
                run_row(item, by_id[item.request.version_id], reader_of(visit, item)) for item in records
            ),
            links=link_rows(links, by_id, await services.link_use.of(links)),
            trials=tuple(trial_row(item) for item in trials if item.request.model == name),
        )
    )


async def _links_of(visit: Visit, version_ids: set[str]) -> list[ShareLink]:
    links = (await visit.services.links.page(visit.member, 200, None)).items
    return [link for link in links if link.version_id in version_ids]


@router.get("/models/{owner}/{name}/versions/{version}")
async def version(owner: Text, name: Text, version: Text, visit: Page) -> Response:
    """Show a version."""
    services, who = visit.services, visit.member
    found = await services.models.version(who, Reference(owner, name, version))
    spec = Spec.model_validate(found.spec)
    manifest = await services.models.manifest(found)
    runs = (await services.runs.page(who, _ROWS, None, found)).items
    bundles = services.repository.bundles
    environment = await services.environments.find(found)
    build = await bundles.build(found.build_id) if found.build_id else None
    summary = await services.monitoring.summary(who, found)
    links = await _links_of(visit, {found.id})
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
