"""Small values that requests bring: references, times to live, file names, pictures, addresses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vitrine_api.credentials import form_token, is_form_token, new_secret, visitor_id
from vitrine_api.dependencies import wait_seconds
from vitrine_api.durations import parse_lifetime
from vitrine_api.models import Reference, parse_reference
from vitrine_api.monitoring import percentiles
from vitrine_api.pages import local_url
from vitrine_api.passwords import Passwords
from vitrine_api.pictures import picture_type
from vitrine_api.run_inputs import safe_filename
from vitrine_common.errors import Invalid


def test_references() -> None:
    assert parse_reference("ada/snow-gan@3") == Reference("ada", "snow-gan", "3")
    assert parse_reference("ada/snow-gan") == Reference("ada", "snow-gan", "latest")
    for wrong in ("ada", "ada/", "/m@1", "a/b/c", "a/b@1@2", "a b/c", ""):
        with pytest.raises(Invalid, match="owner/model@version"):
            parse_reference(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("14d", timedelta(days=14)), (" 2W ", timedelta(weeks=2)), ("90m", timedelta(minutes=90))],
)
def test_times_to_live(text: str, expected: timedelta) -> None:
    assert parse_lifetime(text) == expected


@pytest.mark.parametrize("text", ["", "14", "0d", "-1d", "1y", "99999d", "1d2h", "\u0661d"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_lifetime(text, "expires")
    assert caught.value.problems[0].field == "expires"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\dir\\a.png", "a.png"),
        ('a"\r\nb.png', "a_b.png"),
        ("...", "file"),
        ("", "file"),
        ("\u00e9t\u00e9.png", "\u00e9t\u00e9.png"),
    ],
)
def test_file_names(given: str, kept: str) -> None:
    assert safe_filename(given, "file") == kept
    assert len(safe_filename("\u00e9" * 500, "file").encode()) <= 200


def test_pictures_by_their_first_bytes() -> None:
    assert picture_type(b"\x89PNG\r\n\x1a\n....") == "image/png"
    assert picture_type(b"\xff\xd8\xff\xe0") == "image/jpeg"
    assert picture_type(b"RIFF....WEBPVP8 ") == "image/webp"
    assert picture_type(b"<svg xmlns=") is None
    assert picture_type(b"") is None


@pytest.mark.parametrize("url", ["//evil", "/\\evil", "https://evil/", "javascript:x", "", "/a\nb"])
def test_addresses_that_lead_elsewhere_lead_to_the_front_page(url: str) -> None:
    assert local_url(url) == "/"
    assert local_url("/runs?state=failed") == "/runs?state=failed"


def test_preferences() -> None:
    assert wait_seconds("wait=5", 60) == 5
    assert wait_seconds("respond-async, Wait = 900", 60) == 60
    for none in (None, "", "wait", "wait=x", "wait=-1", "return=minimal"):
        assert wait_seconds(none, 60) == 0


def test_form_tokens_belong_to_one_cookie() -> None:
    cookie, other = new_secret(), new_secret()
    assert is_form_token(form_token(cookie), cookie)
    for given, of in (
        (form_token(cookie), other),
        ("", cookie),
        (None, cookie),
        ("\u00e9", cookie),
        ("x", ""),
    ):
        assert not is_form_token(given, of)


def test_visitors_differ_from_link_to_link() -> None:
    assert visitor_id("link_1", "secret") != visitor_id("link_2", "secret")


def test_percentiles_by_the_nearest_rank() -> None:
    found = percentiles([None, 4.0, 1.0, 3.0, 2.0])
    assert (found.count, found.p50, found.p95) == (4, 2.0, 4.0)
    assert percentiles([]).p50 is None


async def test_passwords() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("correct horse")
    assert hashed.startswith("$argon2id$")
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("wrong horse", hashed)
    # Even the decoy's own password opens no account that does not exist.
    assert not await passwords.verify("the password of nobody", None)
    with pytest.raises(Invalid, match="at least 10"):
        await passwords.hash("short")
