"""What an environment is made of, every input by its digest: the source of its SBOM and its provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Literal

from vitrine_builder.layers import Layer
from vitrine_builder.lock import Lock, LockedPackage, Target, environment_digest
from vitrine_builder.sdists.memory import origin
from vitrine_builder.system import load_system
from vitrine_builder.system.bases import Base, find_base
from vitrine_builder.workspace import Workspace

_MOST_METADATA = 4 << 20
_LONGEST_LICENCE = 120
_CLASSIFIER = "License :: OSI Approved :: "


@dataclass(frozen=True)
class WheelPart:
    """One wheel. `hashes` are those that the lock allows, of which one was used.

    Attributes:
        licence: as its metadata says it in a few words; empty where it does not.
        source: hash of the source distribution that it was built from here.
        built_in: digest of the environment in which that was done, where it was done here.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    licence: str = ""
    source: str | None = None
    built_in: str | None = None


@dataclass(frozen=True)
class DebianPart:
    """One Debian package of the base, or installed on it; `digest` is its archive's, where it is known."""

    name: str
    version: str
    layer: Literal["base", "system"]
    digest: str | None = None


@dataclass(frozen=True)
class Materials:
    """Everything that went into an environment.

    Attributes:
        digest: the environment's.
        base: digest of the base system, where the environment stands on one.
        release: Debian's name of the base's release; empty where nothing is known of the base.
        system: digest of the layer of system packages.
        conda: packages of a conda part, as `channel folder/name=version=build sha256:…`.
    """

    digest: str
    lock: str
    target: Target
    wheels: tuple[WheelPart, ...]
    conda: tuple[str, ...] = ()
    base: str | None = None
    release: str = ""
    architecture: str = ""
    system: str | None = None
    debian: tuple[DebianPart, ...] = ()


def gather(
    workspace: Workspace,
    lock: Lock,
    *,
    target: Target,
    find: Callable[[LockedPackage], Layer | None],
    base: str | None,
) -> Materials:
    """Return what the environment of `lock` is made of; `base` is what its image stands on, if it has one."""
    base = lock.system.base if lock.system else base
    found = find_base(workspace.root, base) if base else None
    wheels = tuple(
        _wheel(workspace, package, find(package), target) for package in lock.packages if not package.conda
    )
    return Materials(
        digest=environment_digest(lock, target),
        lock=lock.digest,
        target=target,
        wheels=wheels,
        conda=tuple(entry for package in lock.packages for entry in package.conda),
        base=base,
        release=found.release if found else "",
        architecture=found.architecture if found else "",
        system=lock.system.digest if lock.system else None,
        debian=_debian(workspace, lock, found),
    )


def _wheel(workspace: Workspace, package: LockedPackage, layer: Layer | None, target: Target) -> WheelPart:
    built_in = None
    if package.source is not None:
        known = [origin(workspace, value) for value in package.hashes if value != package.source]
        built_in = next((digest for digest in known if digest), None)
    licence = licence_of(layer, target) if layer is not None else ""
    hashes = tuple(value for value in package.hashes if value != package.source)
    return WheelPart(package.name, package.version, hashes, licence, package.source, built_in)


def licence_of(layer: Layer, target: Target) -> str:
    """Return what a wheel's metadata says of its licence in a few words, or nothing.

    Source: core metadata specifications (PyPA); `License-Expression` counts more than the older fields.
    """
    site = f"lib/python{target.python}/site-packages/"
    for file in layer.listing:
        name = file.path.removeprefix(site)
        if name.endswith(".dist-info/METADATA") and name.count("/") == 1 and file.size <= _MOST_METADATA:
            return _licence((layer.tree / file.path).read_bytes())
    return ""


def _licence(metadata: bytes) -> str:
    headers = BytesHeaderParser().parsebytes(metadata)
    classified = [str(value) for value in headers.get_all("Classifier", []) if _CLASSIFIER in str(value)]
    said: Sequence[object] = [
        headers.get("License-Expression", ""),
        headers.get("License", ""),
        " OR ".join(sorted(value.removeprefix(_CLASSIFIER) for value in classified)),
    ]
    for value in said:
        text = str(value).strip()
        # A whole licence text names holders and years; its name is asked for.
        if text and "\n" not in text and len(text) <= _LONGEST_LICENCE and text.upper() != "UNKNOWN":
            return text
    return ""


def _debian(workspace: Workspace, lock: Lock, base: Base | None) -> tuple[DebianPart, ...]:
    installed = dict(entry.split("=", 1) for entry in lock.system.packages) if lock.system else {}
    archives = _archives(workspace, lock)
    below = [
        DebianPart(name, version, "base")
        for name, version in sorted(base.packages.items() if base else ())
        if name not in installed
    ]
    above = [
        DebianPart(name, version, "system", archives.get(f"{name}={version}"))
        for name, version in sorted(installed.items())
    ]
    return (*below, *above)


def _archives(workspace: Workspace, lock: Lock) -> dict[str, str]:
    """Return the digests of the archives that were installed, by `name=version`."""
    layer = load_system(workspace, lock.system.digest) if lock.system else None
    if layer is None:
        return {}
    kept = json.loads(Path(layer.path, "system.json").read_bytes())
    return dict(kept.get("archives", {}))
