"""Signatures of webhooks, and the addresses that they may have."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vitrine_api.notifications import KINDS
from vitrine_api.webhooks.addresses import is_public, parse, resolve
from vitrine_api.webhooks.delivering import PAUSES
from vitrine_api.webhooks.signing import headers, new_secret, signature
from vitrine_common.clock import utcnow
from vitrine_common.errors import Invalid, Unavailable


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that the Standard Webhooks specification's reference libraries are tested with."""
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_are_never_alike_and_long_enough() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {len("whsec_") + 44}


def test_a_message_is_tried_for_a_day() -> None:
    assert 24 * 3600 <= sum(PAUSES) <= 30 * 3600


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "//example.org/",
        "https://user:word@example.org/",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://example.org/\r\nX-Header: 1",
        "https://ex\u00e4mple.org/",
        "https://example.org/" + "a" * 2000,
    ],
)
def test_what_is_no_address_of_a_webhook(url: str) -> None:
    with pytest.raises(Invalid, match=r"^url: "):
        parse(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://[::1]:8080/",
        "http://[::ffff:10.0.0.1]/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
async def test_private_networks_are_out_of_reach_in_every_spelling(url: str) -> None:
    with pytest.raises((Invalid, Unavailable)):
        await resolve(url, allow_private=False)


async def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "1.1.1.1", "10.0.0.8")
    with pytest.raises(Invalid, match=r"10\.0\.0\.8"):
        await resolve("https://hooks.example.org/x", allow_private=False)


async def test_the_message_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "1.1.1.1", "1.0.0.1")
    place = await resolve("https://hooks.example.org:8443/x?y=1#z", allow_private=False)
    assert place.url == "https://1.1.1.1:8443/x?y=1"
    assert (place.host, place.server_name) == ("hooks.example.org:8443", "hooks.example.org")
    names(monkeypatch, "2606:4700::1111")
    assert (await resolve("http://h.example.org/", allow_private=False)).url == "http://[2606:4700::1111]:80/"


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name resolve to these."""

    async def found(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)


def test_kinds_have_names_of_facts_and_keys_without_dots() -> None:
    for name, kind in KINDS.items():
        noun, _, verb = name.partition(".")
        assert noun
        assert verb
        assert "." not in kind.key
    assert len({kind.key for kind in KINDS.values()}) == len(KINDS)


def test_the_check_of_the_documents_works() -> None:
    """The snippet that receivers copy accepts what is sent, and nothing else."""
    page = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text()
    snippet = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(snippet, names)
    is_ours = names["is_ours"]
    old, new, body = new_secret(), new_secret(), '{"type": "webhook.test", "data": "ü"}'
    sent = headers([new, old], "delivery_1", body, utcnow())
    assert is_ours(new, sent, body.encode())
    assert is_ours(old, sent, body.encode())
    assert not is_ours(new_secret(), sent, body.encode())
    assert not is_ours(new, sent, body.encode() + b" ")
    late = headers([new], "delivery_1", body, utcnow() - timedelta(minutes=6))
    assert not is_ours(new, late, body.encode())
