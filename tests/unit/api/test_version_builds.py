"""What the builder is asked for on behalf of a version."""

from __future__ import annotations

from vitrine_api.manifests import Bundle
from vitrine_api.versions import _build
from vitrine_common.bundle import Manifest
from vitrine_common.spec import load_spec


def test_a_refresh_reaches_the_builder() -> None:
    spec = load_spec("name: m\nmodel: {command: python a.py}\npackage: [six]")
    bundle = Bundle(manifest=Manifest(spec=spec.plain(), files=()), spec=spec)
    for refresh in (False, True):
        start = _build(bundle, refresh=refresh)
        assert (start.request.requirements, start.request.refresh) == (("six",), refresh)
