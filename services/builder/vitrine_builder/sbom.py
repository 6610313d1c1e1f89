"""The SBOM of an environment: CycloneDX 1.6 as JSON, equal wherever and whenever it is made.

Source: CycloneDX 1.6 (ECMA-424), package URLs (purl). It says nothing of who asked for the environment.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from vitrine_builder.materials import DebianPart, Materials, WheelPart
from vitrine_common.digests import sha256_bytes

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_SERIAL = uuid.UUID(int=0)
_PREFIX = "vitrine:"


def bill_of_materials(materials: Materials) -> bytes:
    """Return the CycloneDX document of an environment."""
    parts = [
        *(_wheel(wheel) for wheel in materials.wheels),
        *(_conda(entry) for entry in materials.conda),
        *(_debian(package, materials) for package in materials.debian),
        _interpreter(materials),
    ]
    if materials.base is not None:
        parts.append(_base(materials, materials.base))
    bom = Bom(components=parts)
    root = _environment(materials)
    bom.metadata.component = root
    bom.metadata.timestamp = _EPOCH
    bom.register_dependency(root, parts)
    bom.serial_number = _NO_SERIAL
    document: str = JsonV1Dot6(bom).output_as_string()
    # Named by what is in it: equal documents have equal numbers, and no two others do.
    serial = uuid.UUID(hex=sha256_bytes(document.encode()).removeprefix("sha256:")[:32], version=5)
    return document.replace(_NO_SERIAL.urn, serial.urn, 1).encode() + b"\n"


def _environment(materials: Materials) -> Component:
    told = {
        "environment": materials.digest,
        "lock": materials.lock,
        "python": materials.target.python,
        "platform": materials.target.platform,
    }
    if materials.system is not None:
        told["system"] = materials.system
    return Component(
        name="environment",
        version=materials.digest.removeprefix("sha256:")[:12],
        type=ComponentType.CONTAINER,
        bom_ref=BomRef("environment"),
        properties=_properties(told),
    )


def _wheel(wheel: WheelPart) -> Component:
    purl = PackageURL("pypi", None, wheel.name, wheel.version)
    # One of several that are allowed is no statement about the one that was taken.
    told = {"source": wheel.source, "built-in": wheel.built_in} if wheel.source else {}
    allowed = () if len(wheel.hashes) == 1 else wheel.hashes
    choices = [Property(name=f"{_PREFIX}allowed", value=value) for value in allowed]
    return Component(
        name=wheel.name,
        version=wheel.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=BomRef(purl.to_string()),
        hashes=[_hash(wheel.hashes[0])] if len(wheel.hashes) == 1 else [],
        licenses=_licences(wheel.licence),
        properties=[*_properties(told), *choices],
    )


def _debian(package: DebianPart, materials: Materials) -> Component:
    qualifiers = {"arch": materials.architecture, "distro": materials.release}
    known = {key: value for key, value in qualifiers.items() if value}
    purl = PackageURL("deb", "debian", package.name, package.version, known)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=BomRef(purl.to_string()),
        hashes=[_hash(package.digest)] if package.digest else [],
        properties=_properties({"layer": package.layer}),
    )


def _conda(entry: str) -> Component:
    pinned, _, digest = entry.partition(" ")
    subdir, _, name = pinned.rpartition("/")
    name, version, build = (*name.split("=", 2), "", "")[:3]
    purl = PackageURL("conda", None, name, version, {"build": build, "subdir": subdir})
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=BomRef(purl.to_string()),
        hashes=[_hash(digest)] if digest.startswith("sha256:") else [],
    )


def _interpreter(materials: Materials) -> Component:
    # Which patch release it is depends on the host, or is told by the base's packages.
    version = materials.target.python
    purl = PackageURL("generic", None, "python", version)
    return Component(
        name="python",
        version=version,
        type=ComponentType.PLATFORM,
        purl=purl,
        bom_ref=BomRef(purl.to_string()),
    )


def _base(materials: Materials, digest: str) -> Component:
    return Component(
        name="debian" if materials.release else "base",
        version=materials.release or None,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=BomRef("base"),
        hashes=[_hash(digest)],
    )


def _licences(text: str) -> list[License]:
    if not text:
        return []
    declared = LicenseAcknowledgement.DECLARED
    return [LicenseFactory().make_from_string(text, license_acknowledgement=declared)]


def _hash(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))


def _properties(values: Mapping[str, str | None]) -> list[Property]:
    return [Property(name=f"{_PREFIX}{name}", value=value) for name, value in values.items() if value]
