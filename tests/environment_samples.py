"""Environments as a builder would have written them, for tests without one."""

from __future__ import annotations

import json
from typing import Any

from api_instance import Account, Instance
from vitrine_common.clock import utcnow
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import Environment, EnvironmentLayer, EnvironmentWheel

SBOM = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}).encode()
STATEMENT = canonical_json({"_type": "https://in-toto.io/Statement/v1", "subject": []})


def digest(text: str) -> str:
    return sha256_bytes(text.encode())


def environment(digest_: str, packages: dict[str, str], **more: Any) -> Environment:
    """An environment of these packages, each of 1,000 bytes for a letter of its name."""
    lock = "".join(
        f"{name}=={version} --hash={digest(name + version)}\n" for name, version in packages.items()
    )
    wheels = [
        EnvironmentWheel(
            name=name, version=version, digest=digest(f"layer {name}{version}"), size_bytes=1000 * len(name)
        )
        for name, version in packages.items()
    ]
    return Environment(
        id=digest_,
        lock=lock,
        packages=len(packages),
        python="3.11",
        size_bytes=sum(wheel.size_bytes for wheel in wheels),
        ready_at=utcnow(),
        wheels=wheels,
    ).model_copy(update=more)


def layer(name: str, size: int, kind: Any = "wheels") -> EnvironmentLayer:
    return EnvironmentLayer(diff_id=digest(name), size_bytes=size, kind=kind, packages=[name])


async def keep(api: Instance, made: Environment, *, documents: bool = True) -> None:
    """Store an environment, with its documents."""
    if documents:
        blobs = api.services.platform.blobs
        update = {
            "sbom_digest": await blobs.put_bytes(SBOM),
            "provenance_digest": await blobs.put_bytes(STATEMENT),
        }
        made = made.model_copy(update=update)
    await api.database_as("builder").collection(Environment).insert(made)


async def version_with(
    api: Instance,
    account: Account,
    packages: dict[str, str],
    *,
    name: str,
    spec: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A version that runs in an environment of these packages."""
    version = await account.push(name=name, spec=spec)
    made = environment(digest(version["id"]), packages, **more)
    await keep(api, made)
    await api.services.versions.build_succeeded(version["build_id"], made.id)
    answer = await account.client.get(f"/api/v1/versions/{version['id']}")
    return dict(answer.json())
