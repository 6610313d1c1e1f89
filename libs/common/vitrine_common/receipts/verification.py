"""Is a receipt what it seems? Pure: receipt and keys in, an answer out; it works without a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import ValidationError

from vitrine_common.receipts.canonical import parse_canonical
from vitrine_common.receipts.dsse import MAX_ENVELOPE_BYTES, Envelope, read_envelope
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.keys import KeySet, PublicKey
from vitrine_common.receipts.predicates import KINDS, ClaimStatement, RunStatement
from vitrine_common.receipts.signatures import is_signed_by
from vitrine_common.receipts.times import read_time


class Fault(StrEnum):
    """Why a receipt proves nothing."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    KEY_REVOKED = "key_revoked"
    KEY_OUT_OF_DATE = "key_out_of_date"
    OTHER_KEY_NAMED = "other_key_named"


@dataclass(frozen=True)
class Verification:
    """What a receipt proves. `valid` only when everything holds; nothing else of it counts otherwise."""

    fault: Fault | None = None
    message: str = ""
    key: PublicKey | None = None
    key_id: str = ""
    instance: str = ""
    """Which instance the keys are of, as whoever gave them says."""
    statement: RunStatement | ClaimStatement | None = field(default=None, repr=False)

    @property
    def valid(self) -> bool:
        """Whether the receipt proves what it says."""
        return self.fault is None


def verify(data: bytes, keys: KeySet) -> Verification:
    """Check the receipt that is exactly `data` against the keys of an instance. Never raises."""
    try:
        envelope = read_envelope(data)
    except Malformed as error:
        return Verification(Fault.MALFORMED, error.message)
    key = keys.keys.get(envelope.key_id)
    if key is None:
        whose = keys.instance or "the instance whose keys were given"
        message = f"it names the key {envelope.key_id[:80]}, which is not one of {whose}"
        return Verification(Fault.UNKNOWN_KEY, message, key_id=envelope.key_id)
    if not is_signed_by(envelope, key.raw):
        message = "the signature does not fit: a byte was changed, or somebody else signed it"
        return Verification(Fault.BAD_SIGNATURE, message, key_id=key.id)
    return _judged(envelope, key, keys.instance)


def _judged(envelope: Envelope, key: PublicKey, instance: str) -> Verification:
    """Judge what was signed, now that it is known by whom."""
    try:
        statement = read_statement(envelope.payload)
        issued_at = read_time(statement.predicate.issued_at, "`issuedAt`")
    except Malformed as error:
        return Verification(Fault.MALFORMED, error.message, key, key.id)
    fault, message = None, ""
    if key.revoked_at is not None:
        fault = Fault.KEY_REVOKED
        message = (
            f"its key was revoked{': ' + key.reason if key.reason else ''}; what it signed proves nothing"
        )
    elif issued_at < key.not_before or (key.not_after is not None and issued_at > key.not_after):
        fault = Fault.KEY_OUT_OF_DATE
        message = "it says that it was issued at a time when its key was not in use"
    elif statement.predicate.instance.key_id != key.id:
        fault = Fault.OTHER_KEY_NAMED
        message = f"it was signed by {key.id} and says that {statement.predicate.instance.key_id[:80]} did"
    return Verification(fault, message, key, key.id, instance, statement)


def read_statement(payload: bytes) -> RunStatement | ClaimStatement:
    """Return the statement in an envelope's payload. Raises Malformed."""
    value = parse_canonical(payload, "the statement", limit=MAX_ENVELOPE_BYTES)
    kind = value.get("predicateType") if isinstance(value, dict) else None
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Malformed(f"it makes a statement of the kind {str(kind)[:80]!r}, which is not a receipt")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"the statement is not complete: {place}: {first['msg']}") from None
