"""Calls: patience, errors, event streams, links of other platforms."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from client_doubles import FakePlatform, events, problem, run, version
from vitrine.errors import ClientError, Gone, LoginNeeded, Misuse, NotFound, Refused, Unreachable
from vitrine.references import LinkAddress, Reference, parse_link, parse_reference, parse_target
from vitrine.results import Version
from vitrine.sse import read_events, split_lines

TOKEN = "a" * 22


def test_events_are_read_as_the_standard_says() -> None:
    lines = [
        "retry: 5",
        "",
        ": hello",
        "event: state",
        'data: {"a":',
        "data:1}",
        "",
        "data: plain",
        "",
        "data: cut",
    ]
    told = list(read_events(lines))
    assert [(one.name, one.data) for one in told] == [("state", '{"a":\n1}'), ("message", "plain")]
    assert told[0].json() == {"a": 1}
    assert told[1].json() == {}


@pytest.mark.parametrize("cut", range(1, 20))
def test_lines_end_where_the_standard_says_however_they_come(cut: int) -> None:
    text = "a\r\nb\rc\n\u2028d\x0be é\n".encode()
    chunks = [text[start : start + cut] for start in range(0, len(text), cut)]
    assert list(split_lines(chunks)) == ["a", "b", "c", "\u2028d\x0be é"]


def test_a_broken_stream_is_followed_again_to_its_end() -> None:
    platform = FakePlatform()
    answers = iter(
        [
            events(("state", run(state="running", final=False))),
            problem(503, "a server is away"),
            events(("state", run()), ("end", run())),
        ]
    )
    platform.routes["GET /api/v1/runs/run_1/events"] = lambda _: next(answers)
    heard: list[str] = []
    with platform.client() as client:
        ended = client.wait("run_1", lambda event: heard.append(event.name))
    assert ended.succeeded
    assert heard == ["state", "state", "end"]


def test_a_stream_that_never_ends_well_is_given_up() -> None:
    platform = FakePlatform()
    platform.routes["GET /api/v1/runs/run_1/events"] = lambda _: events()
    with platform.client() as client, pytest.raises(Unreachable, match="before its end"):
        client.wait("run_1")
    assert len(platform.requests) == 4


def test_reading_is_tried_again_when_the_platform_is_busy() -> None:
    platform = FakePlatform()
    busy = problem(429, "too many")
    busy.headers["Retry-After"] = "2"
    answers = iter([busy, problem(503, "away"), httpx.Response(200, json=version())])
    platform.routes["GET /api/v1/versions/ada/filter/1"] = lambda _: next(answers)
    with platform.client() as client:
        assert client.version("ada/filter@1").is_ready
    assert platform.pauses[0] == 2


def test_writing_is_never_repeated() -> None:
    platform = FakePlatform()
    platform.routes["POST /api/v1/versions/ada/filter/1/runs"] = lambda _: problem(503, "away")
    with platform.client() as client, pytest.raises(Refused, match="away"):
        client.submit("ada/filter@1", {})
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(401, LoginNeeded), (404, NotFound), (410, Gone), (422, Refused), (409, Refused)]
)
def test_problems_become_exceptions(status: int, kind: type[Refused]) -> None:
    platform = FakePlatform()
    platform.routes["GET /api/v1/whoami"] = lambda _: problem(status, "because")
    with platform.client() as client, pytest.raises(kind, match="because") as raised:
        client.whoami()
    assert raised.value.status == status
    assert raised.value.request_id == "req-12345"


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(500, text="oops")])
def test_what_is_not_vitrine_is_said_to_be(answer: httpx.Response) -> None:
    platform = FakePlatform()
    platform.routes["GET /api/v1/whoami"] = lambda _: answer
    with platform.client() as client, pytest.raises(ClientError, match="is not Vitrine"):
        client.whoami()


def test_a_run_with_files_is_a_form(tmp_path: Path) -> None:
    platform = FakePlatform()
    picture = tmp_path / "two.png"
    picture.write_bytes(b"PNG")
    platform.routes["POST /api/v1/versions/ada/filter/latest/runs"] = lambda _: httpx.Response(
        202, json=run()
    )
    with platform.client() as client:
        client.submit("ada/filter", {"image": picture, "size": "3"}, wait=90)
    sent = platform.requests[0]
    body = sent.read()
    assert sent.headers["prefer"] == "wait=60"
    assert b'name="input.image"; filename="two.png"' in body
    assert b"image/png" in body
    assert b'{"size": "3"}' in body


@pytest.mark.parametrize("with_file", [True, False])
def test_the_webhook_of_a_run_is_sent_beside_its_inputs(tmp_path: Path, *, with_file: bool) -> None:
    platform = FakePlatform()
    picture = tmp_path / "two.png"
    picture.write_bytes(b"PNG")
    path = "POST /api/v1/versions/ada/filter/latest/runs"
    platform.routes[path] = lambda _: httpx.Response(202, json=run(webhook_secret="whsec_x"))
    inputs = {"image": picture} if with_file else {"size": "3"}
    with platform.client() as client:
        made = client.submit(
            "ada/filter", inputs, webhook="https://a.test/b", webhook_events=["started", "finished"]
        )
    assert made.webhook_secret == "whsec_x"
    body = platform.requests[0].read()
    if with_file:
        assert b'name="webhook"\r\n\r\nhttps://a.test/b\r\n' in body
        assert body.count(b'name="webhook_events"') == 2
    else:
        assert json.loads(body) == {
            "inputs": {"size": "3"},
            "webhook": "https://a.test/b",
            "webhook_events": ["started", "finished"],
        }


def test_a_link_is_used_without_the_account_and_as_one_visitor() -> None:
    platform = FakePlatform()
    base = f"/api/v1/links/{TOKEN}/runs"
    platform.routes[f"POST {base}"] = lambda _: httpx.Response(
        202, json=run(id="run_1", state="queued", final=False, visitor="me")
    )
    platform.routes[f"GET {base}/run_1/events"] = lambda _: events(("end", run()))
    with platform.client() as client:
        shared = client.shared(f"http://elsewhere.test/s/{TOKEN}")
        assert shared.runs.wait(shared.run({"text": "hi"}).id).succeeded
    assert {one.url.host for one in platform.requests} == {"elsewhere.test"}
    assert all("authorization" not in one.headers for one in platform.requests)
    assert platform.requests[1].headers["x-vitrine-visitor"] == "me"


def test_the_token_goes_to_no_other_host() -> None:
    platform = FakePlatform()
    with platform.client() as client, pytest.raises(ClientError, match="another one"):
        client.built(Version.model_validate(version(state="building", events_url="http://evil.test/x")))
    assert not platform.requests


def test_a_login_is_used_from_then_on() -> None:
    platform = FakePlatform()
    platform.routes["POST /api/v1/login"] = lambda request: httpx.Response(
        200, json={"token": "vt_new", "token_id": "t1", "email": json.loads(request.content)["email"]}
    )
    platform.routes["GET /api/v1/whoami"] = lambda _: httpx.Response(200, json={"id": "u", "email": "a@b.c"})
    with platform.client(token="vt_old") as client:
        assert client.login("a@b.c", "secret").email == "a@b.c"
        client.whoami()
    assert platform.requests[-1].headers["authorization"] == "Bearer vt_new"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ada/net@3", Reference("ada", "net", "3")),
        ("ada/net", Reference("ada", "net", "latest")),
        ("ada/net@sha256:abcdef", Reference("ada", "net", "sha256:abcdef")),
        (f"https://lab.test/s/{TOKEN}", LinkAddress(TOKEN, "https://lab.test")),
        (f"https://lab.test/v/s/{TOKEN}/", LinkAddress(TOKEN, "https://lab.test/v")),
        (TOKEN, LinkAddress(TOKEN)),
    ],
)
def test_what_can_be_run_is_told_apart(text: str, expected: object) -> None:
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    "text", ["net", "ada/net/3", "a/b@", "http://lab.test/x", "ftp://lab.test/s/" + TOKEN, ""]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Misuse):
        parse_target(text)


def test_versions_and_links_are_not_mixed_up() -> None:
    with pytest.raises(Misuse, match="is not a version"):
        parse_reference(TOKEN)
    with pytest.raises(Misuse, match="is not a share link"):
        parse_link("ada/net@1")
