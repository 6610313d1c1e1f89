"""From what a model file asks for to what the builder is told: paths in the bundle become digests."""

from __future__ import annotations

from vitrine_common import messages, spec
from vitrine_common.bundle import Manifest
from vitrine_common.errors import Invalid


def build_request(wanted: spec.EnvironmentRequest, manifest: Manifest) -> messages.EnvironmentRequest:
    """Return the request for the packages that `wanted` names in the bundle of `manifest`.

    Raises Invalid when the bundle has no such requirements file.
    """
    if wanted.requirements_file is None:
        return messages.EnvironmentRequest(
            python=wanted.python,
            preset=wanted.preset,
            requirements=wanted.requirements,
            requirements_name="package.requirements",
        )
    entry = manifest.entry(wanted.requirements_file)
    if entry is None:
        raise Invalid(
            f"the bundle has no requirements file {wanted.requirements_file}; add it, or correct its name"
        )
    return messages.EnvironmentRequest(
        python=wanted.python,
        requirements_digest=entry.digest,
        requirements_name=wanted.requirements_file,
        extras=wanted.extras,
    )
