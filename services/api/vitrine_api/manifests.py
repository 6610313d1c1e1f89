"""Manifests that are sent in: every problem named by its field, before anything is stored."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from vitrine_api.models import MAX_MANIFEST_BYTES
from vitrine_api.repository import Bundles
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import (
    BundleError,
    Manifest,
    bundle_warnings,
    check_manifest,
    check_runnable,
    check_spec_files,
)
from vitrine_common.digests import canonical_json
from vitrine_common.environments import build_request
from vitrine_common.errors import Invalid, Problem
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.spec import Spec, load_spec

MAX_PROBLEMS = 30


class Bundle(BaseModel):
    """A manifest with its specification read."""

    manifest: Manifest
    spec: Spec

    @property
    def warnings(self) -> list[str]:
        """What the author should know although the bundle is accepted."""
        return [*self.spec.warnings(), *bundle_warnings(self.manifest)]

    def environment_request(self) -> EnvironmentRequest:
        """Return what the builder is asked for."""
        return build_request(self.spec.environment_request(), self.manifest)


def read_bundle(raw: Any, *, runnable: bool) -> Bundle:
    """Return the bundle that the JSON value `raw` describes.

    Args:
        raw: a manifest, as a client sends it.
        runnable: whether trained files must be there already.

    Raises BundleError or SpecError with a problem for each field or file.
    """
    manifest = read_files(raw)
    spec = _read_spec(manifest.spec)
    check = check_runnable if runnable else check_spec_files
    if problems := check(spec, manifest):
        raise BundleError(problems)
    return Bundle(manifest=manifest, spec=spec)


def read_files(raw: Any) -> Manifest:
    """Return the manifest that the JSON value `raw` is. Raises BundleError with a problem for each file."""
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise BundleError(_problem(raw, detail) for detail in error.errors()[:MAX_PROBLEMS]) from None
    if problems := check_manifest(manifest):
        raise BundleError(problems)
    return manifest


def _read_spec(raw: dict[str, Any]) -> Spec:
    try:
        text = json.dumps(raw, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"spec: cannot be read: {error}", (Problem("spec", str(error)),)) from None
    return load_spec(text)


def _problem(raw: Any, detail: Any) -> Problem:
    """Name a file by its path rather than by its place in the list."""
    place = detail["loc"]
    message = str(detail["msg"]).removeprefix("Value error, ")
    if len(place) >= 2 and place[0] == "files" and isinstance(place[1], int):
        entry = raw["files"][place[1]]
        path = entry.get("path") if isinstance(entry, dict) else None
        what = ": ".join(str(part) for part in place[2:] if part != "path")
        name = path if isinstance(path, str) else f"files[{place[1]}]"
        return Problem(name[:300], f"{what}: {message}" if what else message)
    return Problem(".".join(str(part) for part in place), message)


async def check_present(bundles: Bundles, user_id: str, manifest: Manifest) -> None:
    """Raise BundleError naming the files whose bytes the user has not sent yet."""
    granted = await bundles.grants(user_id, {entry.digest for entry in manifest.files})
    problems = []
    for entry in manifest.files:
        size = granted.get(entry.digest)
        if size is None:
            problems.append(
                Problem(entry.path, f"{entry.digest} has not been uploaded; send it, then try again")
            )
        elif size != entry.size:
            problems.append(Problem(entry.path, f"has {size} bytes, not {entry.size} as the manifest says"))
    if problems:
        raise BundleError(problems)


async def store_manifest(blobs: BlobStore, manifest: Manifest) -> tuple[str, int]:
    """Keep the canonical manifest and return its digest, which is the version's, and its size."""
    data = canonical_json(manifest.model_dump(mode="json"))
    return await blobs.put_bytes(data, "application/json"), len(data)


async def load_bundle(blobs: BlobStore, digest: str) -> Bundle:
    """Return the runnable bundle whose manifest is the blob `digest`. Raises Invalid, BlobNotFound."""
    return read_bundle(json.loads(await blobs.get_bytes(digest, MAX_MANIFEST_BYTES)), runnable=True)
