"""Blind receipts: nothing that could be recognised, and openings that show what was meant."""

from __future__ import annotations

import json

import pytest

import receipt_samples as samples
from vitrine_common.digests import sha256_bytes
from vitrine_common.receipts.commitments import commit, key_digest, key_of
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.openings import Claimed, Opening, named_digests, open_receipt, read_opening
from vitrine_common.receipts.predicates import ClaimStatement, RunStatement
from vitrine_common.receipts.signatures import PrivateKey
from vitrine_common.receipts.statement import Blind
from vitrine_common.receipts.verification import verify

KEY = PrivateKey.generate()
KEYS = samples.keys(KEY)
LINK, OTHER_LINK = key_of("one"), key_of("another")


def statement(receipt: bytes) -> RunStatement | ClaimStatement:
    found = verify(receipt, KEYS)
    assert found.valid
    assert found.statement is not None
    return found.statement


def test_commitments_are_per_link_and_per_domain() -> None:
    digest = sha256_bytes(b"x")
    assert commit(LINK, "output", digest) == commit(LINK, "output", digest)
    assert commit(LINK, "output", digest) != commit(OTHER_LINK, "output", digest)
    assert commit(LINK, "output", digest) != commit(LINK, "input", digest)
    assert commit(LINK, "output", digest) != commit(LINK, "output", sha256_bytes(b"y"))
    with pytest.raises(ValueError, match="no domain"):
        commit(LINK, "ouput", digest)


def test_commitments_are_hmac_over_a_fixed_text() -> None:
    """What a verifier that somebody else writes must compute."""
    assert commit(bytes(32), "bundle", "sha256:" + "0" * 64) == (
        "hmac-sha256:2963e9a0060c186f2534927c586cabe75795a17f4f846778978f60f3dc1f1860"
    )


@pytest.mark.parametrize("make", [samples.run_receipt, samples.claim_receipt])
def test_a_blind_receipt_names_nothing_that_could_be_recognised(make) -> None:  # type: ignore[no-untyped-def]
    told = json.dumps(statement(make(KEY, Blind(LINK))).document())
    plain = statement(make(KEY))
    for _, _, digest in named_digests(plain):
        assert digest["sha256"] not in told
    assert "ada" not in told
    assert "digits" not in told.replace("Accuracy", "")
    assert '"sha256"' not in told


def test_two_links_share_no_commitment() -> None:
    one, two = (statement(samples.run_receipt(KEY, Blind(key))) for key in (LINK, OTHER_LINK))
    values = [
        {value for _, _, found in named_digests(told) for value in found.values()} for told in (one, two)
    ]
    assert not values[0] & values[1]


def test_an_opening_shows_what_the_commitments_stand_for() -> None:
    blind = statement(samples.run_receipt(KEY, Blind(LINK)))
    claimed = (
        Claimed("bundle", "ada/digits@3", sha256_bytes(b"bundle")),
        Claimed("output", "out.png", sha256_bytes(samples.PICTURE)),
        Claimed("input", "image", sha256_bytes(b"another input")),
    )
    opening = read_opening(json.dumps(Opening(LINK, claimed).document()).encode())
    opened = {item.domain: item.claimed for item in open_receipt(blind, opening)}
    assert opened["bundle"] == claimed[0]
    assert opened["output"] == claimed[1]
    assert opened["input"] is None
    assert opened["environment"] is None


def test_no_other_key_opens_a_receipt() -> None:
    blind = statement(samples.run_receipt(KEY, Blind(LINK)))
    assert blind.predicate.commitments is not None
    assert blind.predicate.commitments.key == key_digest(LINK)
    with pytest.raises(Malformed, match="not the one"):
        open_receipt(blind, Opening(OTHER_LINK, ()))
    with pytest.raises(Malformed, match="nothing to open"):
        open_receipt(statement(samples.run_receipt(KEY)), Opening(LINK, ()))


GOOD = Opening(LINK, ()).document()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {**GOOD, "type": "x"},
        {**GOOD, "key": "00"},
        {**GOOD, "key": "x" * 64},
        {**GOOD, "key": None},
        {**GOOD, "digests": {}},
        {**GOOD, "digests": ["x"]},
        {**GOOD, "digests": [{"domain": "output", "name": "x", "digest": "md5:1"}]},
        {**GOOD, "digests": [{"domain": "else", "name": "x", "digest": sha256_bytes(b"")}]},
    ],
    ids=range(9),
)
def test_what_is_no_opening(document: object) -> None:
    with pytest.raises(Malformed):
        read_opening(json.dumps(document).encode())
