"""Environments as they are told: what is in one, how two differ, and what reproduces one without Vitrine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from vitrine_api import blindness
from vitrine_api.policy import Principal, Visitor
from vitrine_api.receipts import Signer
from vitrine_api.repository import Repository
from vitrine_common.blobs import BlobStore
from vitrine_common.documents import Build, Environment, Version
from vitrine_common.errors import NotFound
from vitrine_common.states import VersionState

MOST_BYTES = 32 << 20
"""Of an SBOM or a statement: far more than thousands of packages need."""
_LINE = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?P<rest>.*)$")
_CONDA = "# conda "


class PackageOut(BaseModel):
    """A locked package; sizes in bytes of what was unpacked and compiled, where that is known."""

    name: str
    version: str
    hashes: list[str] = []
    size_bytes: int | None = None
    reused: bool | None = Field(default=None, description="Its layer existed before this environment.")


class EnvironmentLayerOut(BaseModel):
    """A layer, from the bottom up: of the image where there is one, else a wheel for each package."""

    digest: str
    kind: Literal["base", "system", "wheels", "meta"]
    size_bytes: int
    packages: list[str]
    reused: bool


class EnvironmentOut(BaseModel):
    """What a version runs in. By a blind link nothing is told but Python and a commitment to the digest."""

    reference: str | None
    digest: str
    python: str
    told: bool = True
    packages: list[PackageOut] = []
    conda: list[str] = []
    system: list[str] = Field(default=[], description="Debian packages beside those of the base.")
    base_digest: str | None = None
    system_digest: str | None = None
    image_digest: str | None = None
    layers: list[EnvironmentLayerOut] = []
    size_bytes: int = 0
    ready_at: datetime | None = None
    existed: bool = Field(default=False, description="Nothing had to be made for this version.")
    timings_ms: dict[str, float] = {}
    sbom_digest: str | None = None
    provenance_digest: str | None = None
    lock: str = ""


class ChangeOut(BaseModel):
    """A package that differs; None where it is not there."""

    name: str
    before: str | None
    after: str | None


class EnvironmentDiffOut(BaseModel):
    """How one environment differs from another. Bytes are of layers that both have, or only one has."""

    before: str
    after: str
    same: bool
    python: ChangeOut | None
    base: ChangeOut | None
    packages: list[ChangeOut]
    system: list[ChangeOut]
    layers_shared: int
    layers_added: int
    layers_removed: int
    shared_bytes: int
    added_bytes: int
    removed_bytes: int


@dataclass(frozen=True)
class Told:
    """An environment with the version and the build that it is told of."""

    version: Version
    environment: Environment
    build: Build | None


class Environments:
    """Reads environments and their documents."""

    def __init__(self, repository: Repository, blobs: BlobStore, signer: Signer) -> None:
        self._bundles = repository.bundles
        self._blobs = blobs
        self._signer = signer

    async def of(self, principal: Principal, version: Version) -> Told:
        """Return the environment of a version that `principal` may see. Raises NotFound."""
        if isinstance(principal, Visitor) and not blindness.shows_environment(principal.link):
            raise NotFound("a blind link does not tell which packages its model uses")
        found = await self.find(version)
        if found is None:
            raise NotFound(_missing(principal, version))
        return found

    async def find(self, version: Version) -> Told | None:
        """Return the environment of a version, None where there is none yet."""
        digest = version.environment_digest
        environment = await self._bundles.environment(digest) if digest else None
        if environment is None or environment.ready_at is None:
            return None
        build = await self._bundles.build(version.build_id) if version.build_id else None
        return Told(version, environment, build)

    async def sbom(self, environment: Environment) -> bytes:
        """Return the CycloneDX document. Raises NotFound."""
        return await self._document(environment.sbom_digest, "SBOM")

    async def provenance(self, environment: Environment) -> bytes:
        """Return the in-toto statement in a DSSE envelope, signed now. Raises NotFound, NoSigningKey."""
        statement = await self.statement(environment)
        key = await self._signer.current()
        return key.sign(json.loads(statement)).to_bytes()

    async def statement(self, environment: Environment) -> bytes:
        """Return the in-toto statement, which nobody signed. Raises NotFound."""
        return await self._document(environment.provenance_digest, "provenance")

    async def _document(self, digest: str | None, what: str) -> bytes:
        if digest is None:
            raise NotFound(f"this environment was made before there was a {what}; push the version again")
        return await self._blobs.get_bytes(digest, MOST_BYTES)


def environment_out(told: Told, *, reference: bool = True) -> EnvironmentOut:
    """Describe an environment to somebody who may see all of it."""
    environment, build = told.environment, told.build
    known = {(wheel.name, wheel.version): wheel for wheel in environment.wheels}
    packages = []
    for package in locked(environment.lock):
        wheel = known.get((package.name, package.version))
        more = {"size_bytes": wheel.size_bytes, "reused": wheel.reused} if wheel else {}
        packages.append(package.model_copy(update=more))
    facts = environment.model_dump(
        include={"python", "system", "base_digest", "system_digest", "image_digest", "size_bytes"}
        | {"ready_at", "sbom_digest", "provenance_digest", "lock"}
    )
    return EnvironmentOut(
        reference=told.version.reference if reference else None,
        digest=environment.id,
        packages=packages,
        conda=conda_of(environment.lock),
        layers=layers_of(environment),
        existed=build.reused if build else False,
        timings_ms=build.timings_ms if build else {},
        **facts,
    )


def untold(visitor: Visitor, told: Told) -> EnvironmentOut:
    """Describe an environment to the holder of a blind link: a list of packages would recognise a model."""
    digest = blindness.digest(visitor.link, "environment", told.environment.id)
    return EnvironmentOut(reference=None, digest=digest, python=told.environment.python, told=False)


def locked(lock: str) -> list[PackageOut]:
    """Return the packages of a lock with the hashes that it allows."""
    found = []
    for match in filter(None, map(_LINE.match, lock.splitlines())):
        hashes = [
            word.removeprefix("--hash=") for word in match["rest"].split() if word.startswith("--hash=")
        ]
        found.append(PackageOut(name=match["name"], version=match["version"], hashes=hashes))
    return found


def conda_of(lock: str) -> list[str]:
    """Return the packages of a lock's conda part, as `folder/name=version=build sha256:…`."""
    return [line.removeprefix(_CONDA) for line in lock.splitlines() if line.startswith(_CONDA)]


def _missing(principal: Principal, version: Version) -> str:
    """Say why a version has no environment; what the builder said is for those who may see the version."""
    if version.state is VersionState.BUILDING:
        return "the environment of this version is still being made; try again when the version is ready"
    problem = version.build_problem
    if problem is None or isinstance(principal, Visitor):
        return "the environment of this version was not made"
    return f"the environment of this version was not made. {problem.message}"


def layers_of(environment: Environment) -> list[EnvironmentLayerOut]:
    """Return the layers of an environment's image; where it has none, its wheels."""
    if environment.layers:
        return [
            EnvironmentLayerOut(
                digest=layer.diff_id,
                kind=layer.kind,
                size_bytes=layer.size_bytes,
                packages=layer.packages,
                reused=layer.reused,
            )
            for layer in environment.layers
        ]
    return [
        EnvironmentLayerOut(
            digest=wheel.digest,
            kind="wheels",
            size_bytes=wheel.size_bytes,
            packages=[f"{wheel.name}=={wheel.version}"],
            reused=wheel.reused,
        )
        for wheel in environment.wheels
    ]


def compare(before: Told, after: Told) -> EnvironmentDiffOut:
    """Return how two environments differ."""
    old, new = before.environment, after.environment
    has, gets = _sizes(old, new), _sizes(new, old)
    both = has.keys() & gets.keys()
    return EnvironmentDiffOut(
        before=before.version.reference,
        after=after.version.reference,
        same=old.id == new.id,
        python=_change("python", old.python, new.python),
        base=_change("base", old.base_digest, new.base_digest),
        packages=_changes(_versions(old), _versions(new)),
        system=_changes(_pairs(old.system, "="), _pairs(new.system, "=")),
        layers_shared=len(both),
        layers_added=len(gets.keys() - both),
        layers_removed=len(has.keys() - both),
        shared_bytes=sum(gets[name] for name in both),
        added_bytes=sum(size for name, size in gets.items() if name not in both),
        removed_bytes=sum(size for name, size in has.items() if name not in both),
    )


def _sizes(environment: Environment, other: Environment) -> dict[str, int]:
    """Return layers by digest: those of images only where both have one."""
    if environment.layers and other.layers:
        return {layer.diff_id: layer.size_bytes for layer in environment.layers}
    return {wheel.digest: wheel.size_bytes for wheel in environment.wheels}


def _versions(environment: Environment) -> dict[str, str]:
    pinned = {package.name: package.version for package in locked(environment.lock)}
    entries = (entry.partition(" ")[0].rpartition("/")[2] for entry in conda_of(environment.lock))
    return {**_pairs(entries, "="), **pinned}


def _pairs(entries: Iterable[str], sign: str) -> dict[str, str]:
    return {name: version for name, _, version in (entry.partition(sign) for entry in entries)}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[ChangeOut]:
    names = sorted(before.keys() | after.keys())
    changes = (_change(name, before.get(name), after.get(name)) for name in names)
    return [change for change in changes if change is not None]


def _change(name: str, before: str | None, after: str | None) -> ChangeOut | None:
    return None if before == after else ChangeOut(name=name, before=before, after=after)
