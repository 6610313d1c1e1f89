"""What verifies, what does not, and whether somebody else's verifier agrees."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import SSlibKey

import receipt_samples as samples
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.receipts import dsse
from vitrine_common.receipts.dsse import MAX_ENVELOPE_BYTES, Envelope, pae
from vitrine_common.receipts.errors import BadKey
from vitrine_common.receipts.predicates import ClaimStatement, RunStatement
from vitrine_common.receipts.schema import statement_schema
from vitrine_common.receipts.signatures import PrivateKey
from vitrine_common.receipts.statement import Open, run_statement
from vitrine_common.receipts.verification import Fault, verify

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
KEYS = samples.keys(KEY)
RECEIPT = samples.run_receipt(KEY)


def their_verdict(receipt: bytes, key: PrivateKey = KEY) -> bool:
    """What securesystemslib says."""
    theirs = SSlibKey(key.id, "ed25519", "ed25519", {"public": key.public_raw.hex()})
    try:
        OtherEnvelope.from_dict(json.loads(receipt)).verify([theirs], 1)
    except (VerificationError, ValueError, KeyError):
        return False
    return True


def test_a_receipt_proves_what_was_run() -> None:
    found = verify(RECEIPT, KEYS)
    assert found.valid
    assert found.key_id == KEY.id
    assert found.instance == samples.URL
    assert isinstance(found.statement, RunStatement)
    told = found.statement.predicate
    assert told.verdict == "succeeded"
    assert told.bundle.digest == {"sha256": sha256_bytes(b"bundle").removeprefix("sha256:")}
    assert told.harness == {"sha256": sha256_bytes(b"harness").removeprefix("sha256:")}
    assert told.hardware is not None
    assert (told.hardware.cpu, told.hardware.cores) == ("Some CPU", 2)
    assert found.statement.subject == told.outputs


def test_a_run_without_outputs_has_the_bundle_as_its_subject() -> None:
    found = verify(samples.run_receipt(KEY, facts=samples.FAILED), KEYS)
    assert found.statement is not None
    assert found.statement.subject == [found.statement.predicate.bundle]
    assert found.statement.predicate.verdict == "failed"


def test_a_claims_receipt_names_its_verdict_and_its_runs() -> None:
    found = verify(samples.claim_receipt(KEY), KEYS)
    assert found.valid
    assert isinstance(found.statement, ClaimStatement)
    told = found.statement.predicate
    assert (told.verdict, told.expected, told.measured) == ("reproduced", 0.97, 0.968)
    assert [run.run_id for run in told.runs] == ["run_02"]
    assert told.dataset is not None


def test_every_byte_counts() -> None:
    """Flip each bit of one in eight and the lowest bit of each byte: none of them verifies."""
    for place in range(len(RECEIPT)):
        for bit in range(8) if place % 8 == 0 else (0,):
            altered = bytearray(RECEIPT)
            altered[place] ^= 1 << bit
            assert not verify(bytes(altered), KEYS).valid, (place, bit, bytes(altered[place : place + 1]))


@pytest.mark.parametrize("cut", [1, 2, len(RECEIPT) // 2, len(RECEIPT) - 1])
def test_a_part_of_a_receipt_is_none(cut: int) -> None:
    assert not verify(RECEIPT[:cut], KEYS).valid
    assert not verify(RECEIPT[cut:], KEYS).valid


def test_only_one_way_of_writing_it_verifies() -> None:
    """The same JSON laid out differently would be the same receipt to some readers and not to others."""
    value = json.loads(RECEIPT)
    reordered = json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode()
    twice = RECEIPT.replace(b'{"payload":', b'{"payload":"","payload":', 1)
    for other in (json.dumps(value).encode(), reordered, RECEIPT + b"\n", b" " + RECEIPT, twice):
        assert verify(other, KEYS).fault is Fault.MALFORMED


def test_somebody_elses_verifier_agrees() -> None:
    for receipt in (RECEIPT, samples.claim_receipt(KEY), samples.run_receipt(KEY, facts=samples.FAILED)):
        assert their_verdict(receipt)
        value = json.loads(receipt)
        payload = base64.b64decode(value["payload"]).replace(b'"verdict":"', b'"verdict":"un', 1)
        altered = canonical_json({**value, "payload": base64.b64encode(payload).decode()})
        assert not their_verdict(altered)
        assert verify(altered, KEYS).fault is Fault.BAD_SIGNATURE
        assert not their_verdict(receipt, OTHER)


def test_our_verifier_takes_what_theirs_signed() -> None:
    """The bytes that are signed are DSSE's, not ours alone."""
    payload = canonical_json(run_statement(samples.RUN, samples.issuer(KEY), Open()))
    theirs = OtherEnvelope(payload, dsse.PAYLOAD_TYPE, {})
    assert theirs.pae() == pae(payload)
    signed = Envelope(payload, KEY.id, KEY._private.sign(theirs.pae()))
    assert verify(signed.to_bytes(), KEYS).valid


def test_a_key_that_is_not_known() -> None:
    found = verify(samples.run_receipt(OTHER), KEYS)
    assert found.fault is Fault.UNKNOWN_KEY
    assert samples.URL in found.message
    assert found.statement is None


def test_a_signature_under_somebody_elses_key_id() -> None:
    """Key confusion: signed by one, said to be by another, both known."""
    statement = run_statement(samples.RUN, samples.issuer(KEY), Open())
    signed = OTHER.sign(statement)
    both = samples.keys(KEY, OTHER)
    assert verify(replace(signed, key_id=KEY.id).to_bytes(), both).fault is Fault.BAD_SIGNATURE
    assert verify(signed.to_bytes(), both).fault is Fault.OTHER_KEY_NAMED


def test_dates_of_keys() -> None:
    late = samples.keys(KEY, not_before=samples.AT + samples.HOUR)
    retired = samples.keys(KEY, not_after=samples.AT + samples.HOUR)
    over = samples.keys(KEY, not_after=samples.AT - samples.HOUR / 2)
    assert verify(RECEIPT, late).fault is Fault.KEY_OUT_OF_DATE
    assert verify(RECEIPT, retired).valid
    assert verify(RECEIPT, over).fault is Fault.KEY_OUT_OF_DATE


def test_what_a_revoked_key_signed_proves_nothing_whenever_it_was_signed() -> None:
    revoked = samples.keys(KEY, revoked_at=samples.AT + samples.HOUR, reason="leaked")
    found = verify(RECEIPT, revoked)
    assert found.fault is Fault.KEY_REVOKED
    assert "leaked" in found.message


def _signed(payload: Any) -> bytes:
    data = payload if isinstance(payload, bytes) else canonical_json(payload)
    return Envelope(data, KEY.id, KEY._private.sign(pae(data))).to_bytes()


STATEMENT = run_statement(samples.RUN, samples.issuer(KEY), Open())


@pytest.mark.parametrize(
    "payload",
    [
        {**STATEMENT, "predicateType": "https://slsa.dev/provenance/v1"},
        {**STATEMENT, "predicateType": ["urn:vitrine:receipt:run:v1"]},
        {**STATEMENT, "_type": "https://in-toto.io/Statement/v0.1"},
        {**STATEMENT, "subject": []},
        {**STATEMENT, "predicate": {}},
        {**STATEMENT, "predicate": {**STATEMENT["predicate"], "issuedAt": "yesterday"}},
        [STATEMENT],
        b"not json",
        json.dumps(STATEMENT, indent=1).encode(),
    ],
)
def test_a_good_signature_on_something_else(payload: Any) -> None:
    """A signature over another kind of document, or another reading of one, is no receipt."""
    found = verify(_signed(payload), KEYS)
    assert found.fault is Fault.MALFORMED
    assert found.statement is None


def _envelope(**changes: Any) -> bytes:
    value = json.loads(RECEIPT)
    return canonical_json({**value, **changes})


def _signature(**changes: Any) -> list[dict[str, Any]]:
    return [{**json.loads(RECEIPT)["signatures"][0], **changes}]


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"payload":"\\ud800"}',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b" " * (MAX_ENVELOPE_BYTES + 1),
        _envelope(payloadType="application/json"),
        _envelope(payloadType=7),
        _envelope(payload=None),
        _envelope(payload="not base 64!"),
        _envelope(payload=json.loads(RECEIPT)["payload"] + "\n"),
        _envelope(signatures=[]),
        _envelope(signatures=_signature() * 2),
        _envelope(signatures=["sig"]),
        _envelope(signatures=_signature(keyid=7)),
        _envelope(signatures=_signature(alg="none")),
        _envelope(extra=1),
    ],
    ids=range(21),
)
def test_hostile_envelopes(hostile: bytes) -> None:
    found = verify(hostile, KEYS)
    assert found.fault is Fault.MALFORMED
    assert found.message


def test_an_empty_signature_or_key_is_refused() -> None:
    assert verify(_envelope(signatures=_signature(sig="")), KEYS).fault is Fault.BAD_SIGNATURE
    assert verify(_envelope(signatures=_signature(keyid="")), KEYS).fault is Fault.UNKNOWN_KEY


def test_a_private_key_goes_to_its_file_alone() -> None:
    key = PrivateKey.from_pem(KEY.to_pem())
    assert key.id == KEY.id
    assert "PRIVATE" not in repr(key)
    with pytest.raises(TypeError):
        key.__reduce__()
    for text in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(BadKey):
            PrivateKey.from_pem(text)


def test_the_published_schema_describes_what_is_signed() -> None:
    """Every member of a receipt stands in the schema; what it demands is there."""
    definitions = statement_schema()["$defs"]
    for receipt, name in ((RECEIPT, "Run"), (samples.claim_receipt(KEY), "Claim")):
        statement = json.loads(base64.b64decode(json.loads(receipt)["payload"]))
        for schema, value in (
            (definitions[f"{name}Statement"], statement),
            (definitions[f"{name}Predicate"], statement["predicate"]),
        ):
            assert set(value) <= set(schema["properties"])
            assert set(schema["required"]) <= set(value)
