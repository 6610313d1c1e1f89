"""Ed25519 (RFC 8032): the only module that touches a private key. Signing takes about 50 µs."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vitrine_common.digests import canonical_json
from vitrine_common.receipts.dsse import Envelope, pae
from vitrine_common.receipts.errors import BadKey
from vitrine_common.receipts.keys import key_id

_RAW, _PEM = serialization.Encoding.Raw, serialization.Encoding.PEM


class PrivateKey:
    """A private key. It prints, compares and pickles as nothing: it goes to its file and nowhere else."""

    __slots__ = ("_private", "public_raw")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_raw = private.public_key().public_bytes(_RAW, serialization.PublicFormat.Raw)

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, text: bytes) -> PrivateKey:
        """Return the key of a PEM file (PKCS #8, not encrypted). Raises BadKey."""
        try:
            private = serialization.load_pem_private_key(text, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise BadKey(
                "the file holds no Ed25519 private key; make one: openssl genpkey -algorithm ed25519"
            )
        return cls(private)

    def to_pem(self) -> bytes:
        """Return the key as it stands in its file."""
        return self._private.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def id(self) -> str:
        """The public key's id."""
        return key_id(self.public_raw)

    def sign(self, statement: object) -> Envelope:
        """Return the signed envelope of a statement."""
        payload = canonical_json(statement)
        return Envelope(payload, self.id, self._private.sign(pae(payload)))

    def __reduce__(self) -> str:
        raise TypeError("a private key is not copied into messages or documents")


def is_signed_by(envelope: Envelope, raw: bytes) -> bool:
    """Tell whether the holder of the private half of the 32 bytes `raw` signed the envelope."""
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(envelope.signature, pae(envelope.payload))
    except (InvalidSignature, ValueError):
        return False
    return True
