"""`vitrine verify` and its neighbours: what holds, what does not, whom is asked, and the exit status."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import receipt_samples as samples
import vitrine.client
from client_doubles import URL, FakePlatform, problem
from vitrine.cli.app import main
from vitrine.receipts import merge
from vitrine.transport import Patience
from vitrine_common.digests import sha256_bytes
from vitrine_common.receipts.commitments import key_of
from vitrine_common.receipts.keys import KeySet
from vitrine_common.receipts.openings import Claimed, Opening
from vitrine_common.receipts.signatures import PrivateKey
from vitrine_common.receipts.statement import Blind

KEY, NEW = PrivateKey.generate(), PrivateKey.generate()
WELL_KNOWN = "GET /.well-known/vitrine-keys.json"
Check = Callable[..., tuple[int, Any]]


def publish(platform: FakePlatform, keys: KeySet) -> None:
    platform.routes[WELL_KNOWN] = lambda _: httpx.Response(200, json=keys.document())


def asked(platform: FakePlatform) -> int:
    return sum(request.url.path.startswith("/.well-known/") for request in platform.requests)


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def vitrine_command(
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    bound = functools.partial(
        vitrine.client.Client,
        transport=httpx.MockTransport(platform.answer),
        patience=Patience(attempts=1),
    )
    monkeypatch.setattr(vitrine.client, "Client", bound)
    monkeypatch.setenv("VITRINE_URL", URL)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def check(vitrine_command: Callable[..., tuple[int, str, str]]) -> Check:
    def call(receipt: bytes, *arguments: object) -> tuple[int, Any]:
        Path("receipt.json").write_bytes(receipt)
        status, out, _ = vitrine_command("verify", "receipt.json", *arguments, "--json")
        return status, json.loads(out)

    return call


def test_a_receipt_is_checked_without_a_network(check: Check, platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(samples.keys(KEY).document()))
    (tmp_path / "mine.png").write_bytes(samples.PICTURE)
    (tmp_path / "other.png").write_bytes(b"another")
    receipt = samples.run_receipt(KEY)
    assert check(receipt, "--keys", "keys.json")[0] == 0
    status, said = check(receipt, "--keys", "keys.json", "--file", "mine.png")
    assert (status, said["holds"]) == (0, True)
    assert said["files"] == {"mine.png": ["output results/ada/out.png"]}
    status, said = check(receipt, "--keys", "keys.json", "--file", "mine.png", "--file", "other.png")
    assert (status, said["holds"], said["valid"]) == (1, False, True)
    status, said = check(receipt[:-1] + b" ", "--keys", "keys.json")
    assert (status, said["fault"], said["statement"]) == (1, "malformed", None)
    status, said = check(samples.run_receipt(NEW), "--keys", "keys.json")
    assert (status, said["fault"]) == (1, "unknown_key")
    assert not platform.requests


def test_keys_are_fetched_once_and_kept(check: Check, platform: FakePlatform) -> None:
    publish(platform, samples.keys(KEY))
    receipt = samples.run_receipt(KEY)
    assert check(receipt)[0] == 0
    platform.routes.clear()  # gone for good
    assert check(receipt)[0] == 0
    assert check(samples.claim_receipt(KEY))[0] == 0
    assert asked(platform) == 1


def test_a_key_that_is_newer_than_the_kept_ones_is_asked_for(check: Check, platform: FakePlatform) -> None:
    publish(platform, samples.keys(KEY))
    assert check(samples.run_receipt(KEY))[0] == 0
    assert check(samples.run_receipt(NEW))[1]["fault"] == "unknown_key"
    publish(platform, samples.keys(KEY, NEW))
    assert check(samples.run_receipt(NEW))[0] == 0


def test_the_keys_of_another_platform_prove_nothing_here(check: Check, platform: FakePlatform) -> None:
    """Pins are per platform: what one publishes is not believed of another."""
    publish(platform, samples.keys(KEY))
    assert check(samples.run_receipt(KEY), "--from", "http://elsewhere.test")[0] == 0
    publish(platform, samples.keys(NEW))
    assert check(samples.run_receipt(KEY))[1]["fault"] == "unknown_key"


def test_a_revocation_is_heard_of_and_not_forgotten(check: Check, platform: FakePlatform) -> None:
    publish(platform, samples.keys(KEY))
    assert check(samples.run_receipt(KEY))[0] == 0
    publish(platform, samples.keys(KEY, revoked_at=samples.AT, reason="leaked"))
    status, said = check(samples.run_receipt(KEY), "--refresh")
    assert (status, said["fault"]) == (1, "key_revoked")
    publish(platform, samples.keys(KEY))  # a platform that would rather not have said so
    assert check(samples.run_receipt(KEY), "--refresh")[1]["fault"] == "key_revoked"


def test_pinned_keys_get_narrower_only() -> None:
    pinned = samples.keys(KEY, not_after=samples.AT)
    told = samples.keys(KEY, not_before=samples.AT - 9 * samples.HOUR, not_after=samples.AT + samples.HOUR)
    assert merge(pinned, told).keys == pinned.keys
    assert merge(pinned, samples.keys(NEW)).keys.keys() == {KEY.id, NEW.id}
    shorter = samples.keys(KEY, not_after=samples.AT - samples.HOUR / 2)
    assert merge(pinned, shorter).keys == shorter.keys
    assert merge(None, told) == told


def test_a_blind_receipt_is_opened(check: Check, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(samples.keys(KEY).document()))
    (tmp_path / "mine.png").write_bytes(samples.PICTURE)
    receipt = samples.run_receipt(KEY, Blind(key_of("link")))
    opening = Opening(key_of("link"), (Claimed("bundle", "ada/digits@3", sha256_bytes(b"bundle")),))
    (tmp_path / "opening.json").write_text(json.dumps(opening.document()))
    given = ("--keys", "keys.json", "--opening", "opening.json")
    status, said = check(receipt, *given, "--file", "mine.png")
    assert (status, said["opening"]["fits"]) == (0, True)
    assert said["files"] == {"mine.png": ["output output 1"]}
    opened = {item["what"]: item["digest"] for item in said["opening"]["opened"]}
    assert opened["bundle"] == sha256_bytes(b"bundle")
    assert opened["environment"] is None
    assert check(receipt, "--keys", "keys.json", "--file", "mine.png")[0] == 1
    other = json.dumps(replace(opening, key=key_of("another")).document())
    (tmp_path / "opening.json").write_text(other)
    status, said = check(receipt, *given)
    assert (status, said["valid"], said["holds"]) == (1, True, False)


def test_what_a_person_reads(vitrine_command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(samples.keys(KEY).document()))
    facts = replace(samples.RUN, reference="ada/\x1b[31mdigits@3")
    (tmp_path / "r.json").write_bytes(samples.run_receipt(KEY, facts=facts))
    status, out, err = vitrine_command("verify", "r.json", "--keys", "keys.json")
    assert status == 0
    assert "holds" in out
    assert "ada/digits@3" in out
    assert "\x1b" not in out
    assert "not on whether the result is right" in err
    (tmp_path / "r.json").write_bytes(b"{}")
    status, out, err = vitrine_command("verify", "r.json", "--keys", "keys.json")
    assert (status, out) == (1, "")
    assert "proves nothing" in err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("verify", "missing.json", "--keys", "keys.json"), 1),
        (("verify", "keys.json", "--keys", "missing.json"), 1),
        (("verify", "keys.json", "--keys", "keys.json", "--refresh"), 2),
        (("verify", "keys.json", "--keys", "not-keys.json"), 2),
        (("export", "http://platform.test/s/" + "a" * 22, "-o", "x.zip", "--with-files"), 2),
    ],
)
def test_calls_that_cannot_be_right(
    vitrine_command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(samples.keys(KEY).document()))
    (tmp_path / "not-keys.json").write_text("{}")
    found, _, err = vitrine_command(*arguments)
    assert found == status
    assert err


def test_receipts_openings_and_exports_are_saved(
    vitrine_command: Callable[..., tuple[int, str, str]], platform: FakePlatform, tmp_path: Path
) -> None:
    receipt = samples.run_receipt(KEY)
    opening = Opening(key_of("link"), ()).document()
    api = "GET /api/v1"
    platform.routes |= {
        f"{api}/runs/run_01/receipt": lambda _: httpx.Response(200, content=receipt),
        f"{api}/links/link_01/opening": lambda _: httpx.Response(200, json=opening),
        f"{api}/versions/ada/digits/3/export": lambda _: httpx.Response(200, content=b"archive"),
        f"{api}/links/{'a' * 22}/export": lambda _: httpx.Response(200, content=b"less"),
    }
    assert vitrine_command("receipt", "run_01")[0] == 0
    assert (tmp_path / "receipt-run_01.json").read_bytes() == receipt
    assert vitrine_command("opening", "link_01", "-o", "o.json")[0] == 0
    assert json.loads((tmp_path / "o.json").read_text()) == opening
    assert vitrine_command("export", "ada/digits@3", "-o", "x.zip", "--with-files")[0] == 0
    assert (tmp_path / "x.zip").read_bytes() == b"archive"
    assert platform.requests[-1].url.params["files"] == "true"
    assert vitrine_command("export", f"{URL}/s/{'a' * 22}", "-o", "x.zip")[0] == 0
    assert (tmp_path / "x.zip").read_bytes() == b"less"
    platform.routes[f"{api}/versions/ada/digits/3/export"] = lambda _: problem(404, "no")
    assert vitrine_command("export", "ada/digits@3", "-o", "y.zip")[0] == 1
    assert not list(tmp_path.glob("*y.zip*"))
