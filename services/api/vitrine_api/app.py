"""Wiring of the api: the web application, its lifespan, and the server around it."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from vitrine_api.assets import Assets
from vitrine_api.capacity import make_router as make_capacity_router
from vitrine_api.claims.handlers import make_router as make_claims_router
from vitrine_api.handlers import make_router
from vitrine_api.heads import Heads
from vitrine_api.inference.endpoint import OpenInference
from vitrine_api.inference.handlers import make_router as make_inference_router
from vitrine_api.interface import Application
from vitrine_api.middleware import BodyLimit, Identity, OwnAddress, SecureHeaders, Shield
from vitrine_api.notifications.handlers import make_router as make_notifications_router
from vitrine_api.one_write import OneWrite
from vitrine_api.pages import error_response
from vitrine_api.receipts.handlers import make_router as make_receipts_router
from vitrine_api.rendering import STATIC, STATIC_URL
from vitrine_api.routes import (
    accounts,
    audit,
    blobs,
    claims,
    collaborators,
    credentials,
    dashboard,
    datasets,
    deletions,
    diff,
    environments,
    exports,
    link_holders,
    links,
    monitor,
    notifications,
    operator,
    pages_accounts,
    pages_audit,
    pages_claims,
    pages_collaborators,
    pages_credentials,
    pages_dashboard,
    pages_datasets,
    pages_deletions,
    pages_doors,
    pages_links,
    pages_models,
    pages_notifications,
    pages_oidc,
    pages_operator,
    pages_receipts,
    pages_reviews,
    pages_runs,
    pages_showcase,
    pages_trials,
    pages_users,
    pages_venues,
    plain,
    receipts,
    runs,
    status,
    training,
    venues,
    versions,
    webhooks,
)
from vitrine_api.services import Services, wire
from vitrine_api.settings import ApiSettings
from vitrine_common.errors import VitrineError
from vitrine_common.service import Platform, announce_ready, make_platform
from vitrine_common.telemetry import configure_logging, configure_tracing

log = logging.getLogger(__name__)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

HOLDER_ROUTERS = (
    pages_showcase.router,
    pages_showcase.frames,
    pages_claims.router,
    pages_receipts.frames,
    pages_doors.router,
)
"""Pages of whoever holds a link: asked for most, so they are looked at first."""
PAGE_ROUTERS = (
    pages_accounts.router,
    pages_credentials.router,
    pages_oidc.router,
    pages_collaborators.router,
    pages_deletions.router,
    pages_dashboard.router,
    diff.pages,
    pages_operator.router,
    pages_users.router,
    pages_audit.router,
    pages_models.router,
    pages_datasets.router,
    pages_runs.router,
    pages_links.router,
    pages_trials.router,
    pages_receipts.router,
    pages_notifications.router,
    pages_venues.router,
    pages_reviews.router,
    exports.pages,
    environments.pages,
)
API_ROUTERS = (
    accounts.router,
    credentials.router,
    collaborators.router,
    deletions.router,
    blobs.router,
    dashboard.router,
    versions.router,
    diff.router,
    environments.router,
    runs.router,
    plain.router,
    datasets.router,
    claims.router,
    links.router,
    link_holders.router,
    training.router,
    monitor.router,
    receipts.router,
    notifications.router,
    webhooks.router,
    venues.router,
    exports.router,
    status.router,
    operator.router,
    audit.router,
)


def create_app(platform: Platform, settings: ApiSettings) -> FastAPI:
    """Return the application over an unconnected platform; its lifespan connects and closes it."""
    services = wire(platform, settings)
    platform.bus.broker.include_router(make_router(services.versions))
    platform.bus.broker.include_router(make_receipts_router(services.receipts))
    platform.bus.broker.include_router(make_claims_router(services.attesting))
    platform.bus.broker.include_router(make_notifications_router(services.facts))
    platform.bus.broker.include_router(make_capacity_router(services.fleet))
    platform.bus.broker.include_router(make_inference_router(services.inference.admissions))
    app = routed(_lifespan(services))
    app.state.services = services
    for kind in (VitrineError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, error_response)
    app.add_middleware(Heads)
    app.add_middleware(Shield)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(SecureHeaders, https=settings.secure_cookies)
    app.add_middleware(Identity)
    app.add_middleware(OwnAddress, public_url=settings.public_url)
    app.add_middleware(OpenInference, services=services)
    return app


def routed(lifespan: Lifespan | None = None) -> FastAPI:
    """Return an application with every route and nothing behind them; enough for its documents."""
    app = Application(
        title="Vitrine",
        version="1",
        description="Share a trained model as a link, without giving it away.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        # Its spans would carry whole addresses, and with them the tokens of links; `Identity` makes ours.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in (*HOLDER_ROUTERS, *API_ROUTERS, *PAGE_ROUTERS):
        app.include_router(router)
    app.mount(STATIC_URL, Assets(directory=STATIC), name="static")
    return app


def _lifespan(services: Services) -> Lifespan:
    platform = services.platform

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        broker = platform.bus.broker
        try:
            await platform.start()
            await services.hub.open(platform.bus.client)
            await services.inference.open(platform)
            await services.receipts.signer.open()
            await broker.start()
            platform.background(services.sweep_forever(), "sweep")
            platform.background(services.runners.measure_forever(), "metrics of the queue")
            if services.receipts.signer.enabled:
                platform.background(services.receipts_due.forever(), "receipts")
            platform.background(services.attesting.catch_up_forever(), "receipts of checks")
            platform.background(services.mail.send_forever(), "mail")
            platform.background(services.erasing.forever(), "deletions")
            platform.background(services.mailing.write_forever(), "mail of notifications")
            platform.background(services.delivering.send_forever(), "webhooks")
            platform.background(services.watching.watch_forever(), "news")
            platform.background(services.venues.probes.forever(), "checks of venues")
            yield
        finally:
            services.hub.close()
            await services.run_hooks.close()
            await services.inference.close()
            await platform.stop()
            await broker.stop()

    return lifespan


class Server(uvicorn.Server):
    """Says that it is ready once it listens, and ends streams before it waits for open requests."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        if self.started:
            announce_ready(self._services.platform.settings)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let open requests end, close the platform."""
        self._services.hub.close()
        await super().shutdown(sockets)


def make_server(platform: Platform, settings: ApiSettings) -> Server:
    """Return the server of the application, not running yet."""
    app = create_app(platform, settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=OneWrite,
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    return Server(config, app.state.services)


def main() -> None:
    """Run the api until SIGTERM or SIGINT."""
    configure_logging("api")
    configure_tracing("api")
    server = make_server(make_platform("api"), ApiSettings())
    # What is here now stays: looked through again by a full collection, it would hold a page up.
    gc.collect()
    gc.freeze()
    server.run()
