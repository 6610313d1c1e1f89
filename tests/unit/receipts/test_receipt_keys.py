"""Published keys: written, read back, and refused when they are not what they seem."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import receipt_samples as samples
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.keys import PublicKey, key_id, read_keys
from vitrine_common.receipts.signatures import PrivateKey

KEY = PrivateKey.generate()
DOCUMENT = samples.keys(KEY).document()
JWK = DOCUMENT["keys"][0]


def read(**changes: Any) -> Any:
    return read_keys(json.dumps({**DOCUMENT, "keys": [{**JWK, **changes}]}).encode())


def test_a_key_file_reads_back() -> None:
    dates = {"not_after": samples.AT, "revoked_at": samples.AT, "reason": "leaked"}
    given = samples.keys(KEY, PrivateKey.generate(), **dates)
    assert read_keys(json.dumps(given.document()).encode()) == given


def test_it_is_a_json_web_key_and_its_id_its_thumbprint() -> None:
    """RFC 8037, appendix A.3: the thumbprint of this key is known, there in base 64."""
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    thumbprint = base64.urlsafe_b64decode("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k=")
    assert key_id(raw) == "sha256:" + thumbprint.hex()
    jwk = PublicKey(raw, samples.AT).to_jwk()
    assert (jwk["kty"], jwk["crv"], jwk["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


@pytest.mark.parametrize(
    "changes",
    [
        {"x": "AAAA"},
        {"x": JWK["x"] + "="},
        {"x": JWK["x"][:-1] + "*"},
        {"x": None},
        {"kid": key_id(bytes(32))},
        {"kid": None},
        {"not_before": None},
        {"not_before": "2026-11-21"},
        {"not_after": 7},
        {"revoked_at": "2026-13-41T00:00:00.000Z"},
    ],
    ids=range(10),
)
def test_a_key_that_is_not_what_it_seems(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read(**changes)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[],"keys":[]}'])
def test_what_is_no_key_file(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_keys(data)


def test_keys_of_other_kinds_are_passed_over() -> None:
    assert not read(kty="RSA").keys
    assert not read(crv="X25519").keys


def test_no_key_stands_twice() -> None:
    with pytest.raises(Malformed, match="twice"):
        read_keys(json.dumps({"keys": [JWK, JWK]}).encode())
