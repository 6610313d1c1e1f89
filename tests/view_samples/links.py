"""Sample links: new ones, their pages, doors and ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from view_samples.owner import LINK_FORM, LINKS
from view_samples.visitor import ANONYMOUS, NOW, OWNER, TOKEN, ago
from vitrine_api import views as v
from vitrine_api.qr import embed_html, qr_svg

URL = f"http://127.0.0.1:8300/s/{TOKEN}"
NEW = v.NewLink(url=URL, qr=qr_svg(URL), passcode="k7qm-2xdf-9hpt", embed=embed_html(URL, "Digits"))
BLIND = replace(
    LINKS[0],
    recipient="Reviewer 2",
    blind=True,
    in_aggregate=True,
    opened=None,
    opened_at=None,
    runs=17,
    buckets=(
        v.UseBucket(since=ago(days=6), until=ago(days=4), runs=9, failed=1, p50_ms=140.0, p95_ms=900.0),
        v.UseBucket(since=ago(days=4), until=ago(days=1), runs=8, failed=0, p50_ms=120.0, p95_ms=300.0),
    ),
)
RESTRICTED = replace(
    LINKS[0],
    access="restricted",
    has_passcode=True,
    emails=3,
    rate="20/h",
    max_input_bytes=10_000_000,
    expires_at=NOW + timedelta(days=3),
    state="paused",
    embed_origins=("https://conference.example",),
)
WARNINGS = ("the model card says `ada@lovelace.example`", "the description says `github.com/ada/digits`")
_AT_LINKS = replace(OWNER, path="/links")
LINK_SAMPLES: dict[str, tuple[v.View, v.RequestContext]] = {
    "links": (
        v.Links(links=(*LINKS, BLIND, RESTRICTED), form=LINK_FORM, new=(NEW,), warnings=WARNINGS),
        _AT_LINKS,
    ),
    "links-group": (
        v.Links(
            links=LINKS,
            form=replace(LINK_FORM, access="restricted", recipients="Reviewer 1\nReviewer 2", blind=True),
            new=(replace(NEW, recipient="Reviewer 1"), replace(NEW, recipient="Reviewer 2", embed=None)),
        ),
        _AT_LINKS,
    ),
    "links-refused": (
        v.Links(
            links=(),
            query="nothing",
            form=replace(
                LINK_FORM,
                max_runs="-1",
                rate="often",
                problems=(
                    v.FieldProblem(field="max_runs", message="Give 1 or more."),
                    v.FieldProblem(field="rate", message="`often` is no rate; write for example `20/h`"),
                ),
            ),
        ),
        _AT_LINKS,
    ),
    "links-empty": (v.Links(links=(), form=v.LinkForm(versions=())), _AT_LINKS),
    "link": (v.LinkPage(link=RESTRICTED), _AT_LINKS),
    "link-public": (
        v.LinkPage(link=LINKS[1], url=URL, qr=qr_svg(URL), embed=embed_html(URL, "Digits")),
        _AT_LINKS,
    ),
    "link-blind": (v.LinkPage(link=BLIND), _AT_LINKS),
    "link-blind-unused": (v.LinkPage(link=replace(BLIND, buckets=(), runs=0)), _AT_LINKS),
    "gate": (v.LinkGate(token=TOKEN, ways=("passcode", "email")), ANONYMOUS),
    "gate-wrong": (
        v.LinkGate(token=TOKEN, ways=("passcode",), problem="this is not the passcode; capitals count"),
        ANONYMOUS,
    ),
    "gate-code": (v.LinkGate(token=TOKEN, ways=("email",), email="reviewer@conference.example"), ANONYMOUS),
    "gate-frame": (v.LinkGate(token=TOKEN, ways=("passcode",), embedded=True), ANONYMOUS),
    "link-paused": (v.LinkUnavailable(end="paused"), ANONYMOUS),
}
