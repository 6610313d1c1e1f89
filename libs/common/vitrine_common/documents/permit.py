"""Permits to have a worker."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.documents.base import Leased


class WorkerPermit(Leased):
    """One of the workers that a version may have on all runners together; there are `scaling.max` of them."""

    COLLECTION: ClassVar[str] = "worker_permits"
    WRITER: ClassVar[str] = "runner"
