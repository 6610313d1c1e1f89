"""System packages: a Debian root file system as the base, and lists of packages as a layer on top of it."""

from __future__ import annotations

from collections.abc import Mapping

from vitrine_builder.process import Bounds
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.system.apt import Apt
from vitrine_builder.system.bases import Base, Bases, find_base, load_base
from vitrine_builder.system.container import Container
from vitrine_builder.system.sources import KEYRING, Sources, host_sources, parse_sources
from vitrine_builder.system.store import SystemLayer, SystemStore, load_system
from vitrine_builder.workspace import Workspace

__all__ = [
    "Base",
    "Bases",
    "SystemLayer",
    "SystemStore",
    "find_base",
    "load_base",
    "load_system",
    "system_store",
]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def system_store(
    settings: BuilderSettings, workspace: Workspace, environment: Mapping[str, str]
) -> SystemStore:
    """Return the store of system packages as the operator set it up; nothing is started or fetched yet.

    Raises:
        SourcesError: a setting is malformed.
    """
    container = Container(workspace.lifeline)
    bounds = Bounds(settings.system_timeout_seconds, settings.max_file_bytes)
    apt = Apt(
        container,
        workspace.root / ".builder" / "apt",
        _sources(settings),
        bounds,
        settings.resolution_max_age_seconds,
        {name: environment[name] for name in _PROXIES if environment.get(name)},
    )
    bases = Bases(workspace, container, apt, bounds)
    return SystemStore(workspace, container, apt, bases, bounds, settings.free_bytes, settings.base)


def _sources(settings: BuilderSettings) -> Sources:
    release = settings.debian_release
    keyring = None if settings.apt_unsigned else settings.apt_keyring or KEYRING
    text = settings.apt_sources or host_sources(release)
    if not text:
        return Sources(release, (), keyring)
    return parse_sources(text, release, keyring=keyring, snapshot=settings.apt_snapshot)
