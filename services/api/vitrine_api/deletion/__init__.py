"""Deleting: wishes, the task that carries them out, and the blobs that nothing refers to any more."""

from vitrine_api.deletion.collecting import Collecting
from vitrine_api.deletion.erasing import Erasing
from vitrine_api.deletion.tombstones import Tombstones
from vitrine_api.deletion.wishes import Deleting

__all__ = ["Collecting", "Deleting", "Erasing", "Tombstones"]
