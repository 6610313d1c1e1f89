"""DSSE envelopes (Dead Simple Signing Envelope, v1.0.2): the bytes that are signed, and the JSON around them.

The protocol allows more than is taken here: exactly one signature, one payload type, one way to write it.
What is taken narrowly cannot be read in two ways.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from vitrine_common.digests import canonical_json
from vitrine_common.receipts.canonical import parse_canonical
from vitrine_common.receipts.errors import Malformed

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dsse+json"
MAX_ENVELOPE_BYTES = 4 << 20


@dataclass(frozen=True)
class Envelope:
    """A signed payload: the bytes, who says that they signed it, and the signature."""

    payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the one way in which this envelope is written."""
        return canonical_json(
            {
                "payload": _encode(self.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.key_id, "sig": _encode(self.signature)}],
            }
        )


def pae(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the pre-authentication encoding: what is signed (DSSE protocol, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def read_envelope(data: bytes) -> Envelope:
    """Return the envelope that is written exactly as `data`.

    Raises:
        Malformed: it is none, or not written in the one way; says what is wrong.
    """
    value = parse_canonical(data, "the receipt", limit=MAX_ENVELOPE_BYTES)
    if not isinstance(value, dict) or set(value) != {"payload", "payloadType", "signatures"}:
        raise Malformed("a receipt has `payload`, `payloadType` and `signatures`, and nothing else")
    if value["payloadType"] != PAYLOAD_TYPE:
        raise Malformed(f"the payload's type is {str(value['payloadType'])[:80]!r}, not {PAYLOAD_TYPE!r}")
    signatures = value["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise Malformed("a receipt has exactly one signature")
    (signature,) = signatures
    if not isinstance(signature, dict) or set(signature) != {"keyid", "sig"}:
        raise Malformed("the signature has `keyid` and `sig`, and nothing else")
    key_id = signature["keyid"]
    if not isinstance(key_id, str):
        raise Malformed("`keyid` is a text")
    return Envelope(_decode(value["payload"], "payload"), key_id, _decode(signature["sig"], "sig"))


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: object, name: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or _encode(data) != text:  # the last digit of base 64 has spare bits
        raise Malformed(f"`{name}` is not base 64 as it must be written")
    return data
