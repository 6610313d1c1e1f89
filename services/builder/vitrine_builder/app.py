"""Wiring of the builder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vitrine_builder.builds import Recipe
from vitrine_builder.bytecode import Compiler, require_interpreter
from vitrine_builder.collection import Collector
from vitrine_builder.completion import Completer
from vitrine_builder.conda import Conda
from vitrine_builder.dossiers import Dossiers
from vitrine_builder.handlers import router
from vitrine_builder.images.compiled import CompiledImages
from vitrine_builder.images.setup import open_images
from vitrine_builder.layers import LayerStore
from vitrine_builder.lock import Lock
from vitrine_builder.materialise import EnvironmentStore
from vitrine_builder.process import Bounds
from vitrine_builder.progress import Report
from vitrine_builder.replication import Replication
from vitrine_builder.repository import Builds, Environments, PackedParts
from vitrine_builder.resolve import Resolver
from vitrine_builder.sdists import BuildSandboxes, Sdists
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.sources import Sources, open_sources
from vitrine_builder.system import SystemStore, system_store
from vitrine_builder.tending import tend_forever
from vitrine_builder.uv import Uv
from vitrine_builder.worker import Worker
from vitrine_builder.workspace import Workspace, open_workspace
from vitrine_common.blobs import BlobStore
from vitrine_common.indexes import uv_environment
from vitrine_common.leases import reap_forever
from vitrine_common.replicas import AREA
from vitrine_common.service import Platform, run_service


def main() -> None:
    """Run the builder until SIGTERM or SIGINT."""
    run_service("builder", [router], use)


@asynccontextmanager
async def use(platform: Platform) -> AsyncIterator[None]:
    """Wire the builder's parts to a connected platform and let them work within the block."""
    # Sandboxes read what is made here, under user ids of their own.
    os.umask(0o022)
    settings = BuilderSettings()
    builds = Builds(platform.database, platform.holder, platform.work.lease_seconds)
    with open_workspace(platform.settings.environments_dir) as workspace:
        sandboxes = BuildSandboxes(workspace.root / ".builder" / "sandboxes", settings.build_limits)
        parts = await open_parts(settings, workspace, sandboxes)
        collector = Collector(workspace, settings.store_bytes, settings.free_bytes)
        environments = Environments(platform.database, platform.holder, platform.work.lease_seconds)
        replication = _replication(platform, settings, parts.store, environments)
        recipe = Recipe(
            read_blob=platform.blobs.get_bytes,
            resolver=parts.resolver,
            store=parts.store,
            system=parts.system,
            conda=parts.conda,
            environments=environments,
            max_tries=settings.max_tries,
            retry_seconds=settings.retry_seconds,
            make_room=collector.collect,
            dossiers=Dossiers(workspace, parts.store.layers),
            keep_blob=platform.blobs.put_bytes,
            replication=replication,
        )
        worker = Worker(
            builds,
            recipe,
            platform.bus,
            concurrency=settings.concurrent_builds,
            max_claims=settings.max_claims,
            pause_seconds=platform.work.reap_seconds,
        )
        platform.bus.broker.context.set_global("worker", worker)
        reaper = reap_forever(builds.queue, builds.requeue, platform.work.reap_seconds)
        platform.background(reaper, "reaper")
        daemon = parts.store.images.daemon if parts.store.images else None
        tending = tend_forever(collector, daemon, settings.collect_seconds, platform.bus.report)
        platform.background(tending, "store")
        parts.store.completer.on_complete = (builds.completed, replication.completed)
        completing = platform.background(parts.store.completer.run(), "bytecode")
        working = platform.background(worker.run(), "worker")
        try:
            yield
        finally:
            # Before the bus and the workspace go: builds under way are given back, their children killed.
            working.cancel()
            completing.cancel()
            await asyncio.gather(working, completing, return_exceptions=True)
            await sandboxes.aclose()
            await replication.blobs.aclose()
            if parts.store.images is not None and (pusher := parts.store.images.pusher) is not None:
                pusher.destination.close()


def _replication(
    platform: Platform, settings: BuilderSettings, store: EnvironmentStore, environments: Environments
) -> Replication:
    archives = BlobStore(platform.settings.s3, AREA)
    parts = PackedParts(platform.database)
    return Replication(store, parts, environments, archives, settings.replica_bytes)


@dataclass(frozen=True)
class Parts:
    """What makes environments, without the platform that asks for them."""

    resolver: Resolver
    store: EnvironmentStore
    system: SystemStore
    conda: Conda


async def open_parts(settings: BuilderSettings, workspace: Workspace, sandboxes: BuildSandboxes) -> Parts:
    """Wire what resolves and what builds, in the order in which the one needs the other.

    Raises:
        BuildFailure: the interpreter, the base or the Docker daemon that the settings name cannot be used.
    """
    sources = await _sources(settings, workspace)
    store = await _store(settings, workspace, sources)
    resolver = _resolver(settings, workspace, sources, store, sandboxes)
    system = system_store(settings, workspace, os.environ)
    images = await open_images(settings, workspace, settings.target, system)
    if images is not None:
        images = replace(images, attach=Dossiers(workspace, store.layers).attachments)
        store.completer.images = CompiledImages(images, store.layers.compiler.version)
    conda = _conda(settings, workspace, sources, store)
    return Parts(resolver, replace(store, images=images), system, conda)


def _conda(
    settings: BuilderSettings, workspace: Workspace, sources: Sources, store: EnvironmentStore
) -> Conda:
    places = settings.conda_channels.split()
    return Conda(
        workspace=workspace,
        layers=store.layers,
        target=settings.target,
        channels=tuple(place if "://" in place else Path(place).absolute().as_uri() for place in places),
        environment=sources.environment,
        bounds=Bounds(settings.install_timeout_seconds, settings.max_file_bytes),
        max_age=settings.resolution_max_age_seconds,
    )


async def _sources(settings: BuilderSettings, workspace: Workspace) -> Sources:
    memory = workspace.root / ".builder" / "links.json"
    uv = _uv(settings, workspace, settings.resolve_timeout_seconds)
    return await open_sources(uv, workspace.drafts / "sources", memory, settings.index_max_age_seconds)


async def _store(settings: BuilderSettings, workspace: Workspace, sources: Sources) -> EnvironmentStore:
    interpreter = await require_interpreter(settings.python, settings.target)
    compiler = Compiler(
        settings.python,
        interpreter.version,
        Bounds(settings.compile_timeout_seconds, settings.max_file_bytes),
        settings.compile_jobs,
        workspace.lifeline,
    )
    installer = sources.tell(_uv(settings, workspace, settings.install_timeout_seconds))
    layers = LayerStore(workspace, installer, compiler, least_bytes=settings.free_bytes // 2)
    return EnvironmentStore(
        workspace=workspace,
        layers=layers,
        completer=Completer(layers),
        target=settings.target,
        magic=interpreter.magic,
        free_bytes=settings.free_bytes,
    )


def _resolver(
    settings: BuilderSettings,
    workspace: Workspace,
    sources: Sources,
    store: EnvironmentStore,
    sandboxes: BuildSandboxes,
) -> Resolver:
    async def materialise(lock: Lock, report: Report) -> Path:
        return (await store.materialise(lock, report)).path

    uv = sources.tell(_uv(settings, workspace, settings.resolve_timeout_seconds))
    max_age = settings.resolution_max_age_seconds
    wheels_only = Resolver(uv, workspace.resolutions, max_age, sources.links, sources.indexes)
    sdists = Sdists(workspace, sources.indexes, sandboxes, settings.target, wheels_only.resolve, materialise)
    return replace(wheels_only, sources=sdists)


def _uv(settings: BuilderSettings, workspace: Workspace, seconds: float) -> Uv:
    return Uv(
        directory=workspace.installer,
        python=settings.python,
        target=settings.target,
        environment=uv_environment(os.environ),
        bounds=Bounds(seconds, settings.max_file_bytes),
        lifeline=workspace.lifeline,
    )
