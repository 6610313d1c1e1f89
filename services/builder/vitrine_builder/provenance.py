"""Where an environment comes from: an in-toto statement (v1) with SLSA provenance (v1).

It names every input by its digest, and is equal wherever the same environment is made by the same programs.
The builder holds no key: the statement is kept unsigned, as canonical JSON, and signed by whoever serves it.
"""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packageurl import PackageURL

from vitrine_builder.lock import FORMAT_VERSION
from vitrine_builder.materials import DebianPart, Materials, WheelPart
from vitrine_common.digests import canonical_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:vitrine:environment:v1"
BUILDER = "urn:vitrine:builder"
MEDIA_TYPE = "application/vnd.in-toto+json"
_PROGRAMS = ("vitrine-builder", "uv")


def provenance(materials: Materials, image: str | None, sbom: str) -> bytes:
    """Return the statement about an environment, its image (if it has one) and its SBOM."""
    subject = [{"name": "environment", "digest": _digest(materials.digest)}]
    if image is not None:
        subject.append({"name": "image", "digest": _digest(image)})
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "lock": materials.lock,
                        "python": materials.target.python,
                        "platform": materials.target.platform,
                    },
                    "internalParameters": {"format": FORMAT_VERSION},
                    "resolvedDependencies": _inputs(materials),
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": dict(_programs())},
                    "byproducts": [{"name": "sbom", "digest": _digest(sbom)}],
                },
            },
        }
    )


def _inputs(materials: Materials) -> list[dict[str, Any]]:
    found = [{"name": "lock", "digest": _digest(materials.lock)}]
    if materials.base is not None:
        found.append({"name": "base", "digest": _digest(materials.base)})
    if materials.system is not None:
        found.append({"name": "system", "digest": _digest(materials.system)})
    for wheel in materials.wheels:
        found += _wheel(wheel)
    for entry in materials.conda:
        name, _, digest = entry.partition(" ")
        found.append({"name": name, "digest": _digest(digest)})
    found += [_debian(package) for package in materials.debian if package.digest]
    return found


def _wheel(wheel: WheelPart) -> list[dict[str, Any]]:
    """Return the wheels that the lock allows, or the source that one was built from, and where."""
    purl = PackageURL("pypi", None, wheel.name, wheel.version).to_string()
    name = f"{wheel.name}=={wheel.version}"
    found = [{"name": name, "uri": purl, "digest": _digest(value)} for value in wheel.hashes]
    if wheel.source is not None:
        source = {"name": f"{name} source", "uri": purl, "digest": _digest(wheel.source)}
        found.append(source)
    if wheel.built_in is not None:
        found.append({"name": f"{name} build environment", "digest": _digest(wheel.built_in)})
    return found


def _debian(package: DebianPart) -> dict[str, Any]:
    purl = PackageURL("deb", "debian", package.name, package.version).to_string()
    return {"name": f"{package.name}={package.version}", "uri": purl, "digest": _digest(package.digest or "")}


@functools.cache
def _programs() -> tuple[tuple[str, str], ...]:
    return tuple((name, _version(name)) for name in _PROGRAMS)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _digest(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
