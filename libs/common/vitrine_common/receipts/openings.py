"""Openings: the key of a blind link and the digests behind its commitments, shown after un-blinding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from vitrine_common.digests import DIGEST_PATTERN
from vitrine_common.receipts import commitments
from vitrine_common.receipts.canonical import parse_json
from vitrine_common.receipts.commitments import DOMAINS, Domain
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.predicates import ClaimStatement, DigestSet, Resource, RunPredicate, RunStatement

TYPE = "urn:vitrine:opening:v1"
MAX_BYTES = 1 << 20
_KEY_DIGITS = 64


@dataclass(frozen=True)
class Claimed:
    """What somebody says that a commitment stands for."""

    domain: Domain
    name: str
    digest: str


@dataclass(frozen=True)
class Opening:
    """The key of a link, and what its commitments stand for."""

    key: bytes
    claimed: tuple[Claimed, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON of it."""
        listed = [{"domain": item.domain, "name": item.name, "digest": item.digest} for item in self.claimed]
        return {"type": TYPE, "scheme": "HMAC-SHA-256", "key": self.key.hex(), "digests": listed}


@dataclass(frozen=True)
class Opened:
    """One commitment of a receipt; `claimed` is None where the opening says nothing that fits."""

    domain: Domain
    name: str
    commitment: str
    claimed: Claimed | None


def read_opening(data: bytes) -> Opening:
    """Return the opening in a file. Raises Malformed."""
    value = parse_json(data, "the opening", limit=MAX_BYTES)
    if not isinstance(value, dict) or value.get("type") != TYPE:
        raise Malformed(f"an opening is a JSON object of type {TYPE}")
    key, listed = value.get("key"), value.get("digests")
    try:
        raw = bytes.fromhex(key) if isinstance(key, str) and len(key) == _KEY_DIGITS else b""
    except ValueError:
        raw = b""
    if not raw or not isinstance(listed, list):
        raise Malformed("an opening has a `key` of 64 hexadecimal digits and a list `digests`")
    return Opening(raw, tuple(_claimed(item) for item in listed))


def _claimed(item: object) -> Claimed:
    found = item if isinstance(item, dict) else {}
    domain, name, digest = found.get("domain"), found.get("name"), found.get("digest")
    if domain not in DOMAINS or not isinstance(digest, str) or not re.fullmatch(DIGEST_PATTERN, digest):
        raise Malformed("each of an opening's `digests` has a `domain`, a `name` and a `digest`")
    return Claimed(cast("Domain", domain), str(name or domain), digest)


def open_receipt(statement: RunStatement | ClaimStatement, opening: Opening) -> list[Opened]:
    """Return every commitment of a verified statement with what it stands for.

    Raises:
        Malformed: the receipt is not blind, or its link had another key.
    """
    made = statement.predicate.commitments
    if made is None:
        raise Malformed("this receipt names its digests themselves; there is nothing to open")
    if made.key != commitments.key_digest(opening.key):
        raise Malformed("the opening's key is not the one that the receipt was made with")
    by_commitment = {
        (item.domain, commitments.commit(opening.key, item.domain, item.digest)): item
        for item in opening.claimed
    }
    return [
        Opened(domain, name, commitment, by_commitment.get((domain, commitment)))
        for domain, name, commitment in _commitments(statement)
    ]


def named_digests(
    statement: RunStatement | ClaimStatement,
) -> Iterator[tuple[Domain, str, DigestSet]]:
    """Yield everything that a statement names by a digest or commitment: what it is, its name, the digest."""
    told = statement.predicate
    yield "bundle", told.bundle.name, told.bundle.digest
    yield "spec", "model file", told.spec
    yield "environment", "environment", told.environment.digest
    if told.environment.image:
        yield "image", "image", told.environment.image
    if told.harness:
        yield "harness", "harness", told.harness
    if told.dataset:
        yield "dataset", told.dataset.name, told.dataset.digest
    for domain, resource in _artifacts(statement):
        yield domain, resource.name, resource.digest


def _artifacts(statement: RunStatement | ClaimStatement) -> Iterator[tuple[Domain, Resource]]:
    told = statement.predicate
    if isinstance(told, RunPredicate):
        yield from (("input", item) for item in told.inputs)
        yield from (("output", item) for item in told.outputs)
    else:
        yield from (("input", item) for item in told.added)
        for run in told.runs:
            yield from (("output", item) for item in run.outputs)


def _commitments(statement: RunStatement | ClaimStatement) -> Iterator[tuple[Domain, str, str]]:
    for domain, name, digest in named_digests(statement):
        if commitments.ALGORITHM in digest:
            yield domain, name, commitments.PREFIX + digest[commitments.ALGORITHM]
