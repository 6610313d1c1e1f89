"""Specs of versions, read once for all who look at them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from vitrine_common.documents import Version
from vitrine_common.spec import Spec

_KEPT = 256
_read: OrderedDict[str, tuple[dict[str, Any], Spec]] = OrderedDict()
"""By version; specs are frozen. What a version holds is compared, so that an id alone is never believed."""


def spec_of(version: Version) -> Spec:
    """Return the spec of a version."""
    known = _read.get(version.id)
    if known is not None and known[0] == version.spec:
        _read.move_to_end(version.id)
        return known[1]
    spec = Spec.model_validate(version.spec)
    _read[version.id] = (version.spec, spec)
    if len(_read) > _KEPT:
        _read.popitem(last=False)
    return spec
