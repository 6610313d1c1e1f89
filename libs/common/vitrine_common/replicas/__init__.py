"""Environments on hosts that do not see the builder's disk: their layers travel through the blob store."""

from vitrine_common.replicas.fetching import ReplicaFetcher
from vitrine_common.replicas.marks import make_mark, read_mark
from vitrine_common.replicas.parts import AREA, Archive, BytecodePart, LayerPart, Replica, RootPart

__all__ = [
    "AREA",
    "Archive",
    "BytecodePart",
    "LayerPart",
    "Replica",
    "ReplicaFetcher",
    "RootPart",
    "make_mark",
    "read_mark",
]
