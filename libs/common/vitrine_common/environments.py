"""From what a model file asks for to what the builder is told: paths in the bundle become digests."""

from __future__ import annotations

import json
from pathlib import Path

from vitrine_common import messages, spec
from vitrine_common.bundle import Manifest
from vitrine_common.errors import Invalid
from vitrine_common.replicas.eviction import ROOTS


def build_request(wanted: spec.EnvironmentRequest, manifest: Manifest) -> messages.EnvironmentRequest:
    """Return the request for the packages that `wanted` names in the bundle of `manifest`.

    Raises Invalid when the bundle has no such requirements file.
    """
    request = _python_packages(wanted, manifest).model_copy(update={"system": wanted.system})
    if wanted.system_file is None:
        return request
    update = {
        "system_file_digest": _file_digest(manifest, wanted.system_file),
        "system_file_name": wanted.system_file,
    }
    return request.model_copy(update=update)


def _python_packages(wanted: spec.EnvironmentRequest, manifest: Manifest) -> messages.EnvironmentRequest:
    if wanted.requirements_file is None:
        return messages.EnvironmentRequest(
            python=wanted.python,
            preset=wanted.preset,
            requirements=wanted.requirements,
            requirements_name="package.requirements",
        )
    return messages.EnvironmentRequest(
        python=wanted.python,
        requirements_digest=_file_digest(manifest, wanted.requirements_file),
        requirements_name=wanted.requirements_file,
        extras=wanted.extras,
    )


def _file_digest(manifest: Manifest, path: str) -> str:
    entry = manifest.entry(path)
    if entry is None:
        raise Invalid(f"the bundle has no requirements file {path}; add it, or correct its name")
    return entry.digest


def system_root(environments: Path, environment: Path) -> Path | None:
    """Return the root file system that the builder made for `environment`; None where it needs no own one.

    `environments` is the folder of all of them. Raises Invalid when the root that it needs is not there.
    """
    try:
        digest: str | None = json.loads((environment / "environment.json").read_bytes()).get("system")
    except FileNotFoundError:
        return None
    if digest is None:
        return None
    private, name = environments / ".builder", digest.removeprefix("sha256:")
    # A builder's own, or one that was fetched.
    for root in (private / "system" / name / "rootfs", private / ROOTS / name / "rootfs"):
        if root.is_dir():
            return root
    raise Invalid(
        f"The system packages {digest} are not on this host ({private}); builder and runner must share "
        "VITRINE_ENVIRONMENTS_DIR, or this service must be able to write there."
    )


def image_reference(environment_digest: str) -> str:
    """Return the name that the image of an environment has in a Docker daemon."""
    return f"vitrine/env:{environment_digest.removeprefix('sha256:')}"
