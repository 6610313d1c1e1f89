"""Every page and fragment, with sample data and with hostile data."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest

from view_samples import FRAGMENTS, SAMPLES
from vitrine_api.rendering import STATIC, TEMPLATES
from vitrine_api.views import FieldProblem, Links, RequestContext, View, render

EVERYTHING = {**SAMPLES, **FRAGMENTS}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
ROUTED = {"state", "kind", "tone", "end", "access", "reason"}
"""Fields whose values the service chooses from a list."""
VOID = {"meta", "link", "img", "input", "br", "hr", "path", "rect", "circle", "ellipse"}
LABELABLE = {"input", "select", "textarea"}


class Page(HTMLParser):
    """Reads a page: its tags with their attributes, and what labels what."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.unlabelled: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self.feed(html)
        self.close()
        named = {attributes.get("for") for tag, attributes in self.tags if tag == "label"}
        self.unlabelled = [attributes for attributes in self.unlabelled if attributes.get("id") not in named]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        hidden = attributes.get("type") == "hidden"
        if tag in LABELABLE and not hidden and "label" not in self.open and not attributes.get("aria-label"):
            self.unlabelled.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def page_of(name: str) -> Page:
    view, context = EVERYTHING[name]
    return Page(render(view, context))


def poison(value: Any, name: str = "") -> Any:
    """Return `value` with every free string replaced by markup."""
    if isinstance(value, str):
        return value if name in ROUTED or not value else HOSTILE
    if isinstance(value, tuple):
        return tuple(poison(item, name) for item in value)
    if isinstance(value, dict):
        return {poison(key): poison(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poison(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        changes = {field.name: poison(getattr(value, field.name), field.name) for field in fields(value)}
        return replace(value, **changes)
    return value


def test_every_template_has_a_sample() -> None:
    """A page that no test renders would go out unseen."""
    shown = {view.template for view, _ in EVERYTHING.values()}
    parts = {
        "base.html",
        "fragments/run_live.html",
        "fragments/history.html",
        "fragments/claims.html",
        "fragments/card_facts.html",
        "fragments/environment.html",
        "fragments/settings_data.html",
        "fragments/settings_login.html",
        "fragments/settings_quotas.html",
        "fragments/settings_works_on.html",
    }
    written = {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html")}
    assert {name for name in written if not name.startswith("macros/")} == shown | parts


@pytest.mark.parametrize("name", SAMPLES)
def test_page_is_whole(name: str) -> None:
    """One heading of the first level, one main part, a language, a title, and tags that nest."""
    page = page_of(name)
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")
    assert page.misnested == []
    assert page.open == []


@pytest.mark.parametrize("name", EVERYTHING)
def test_nothing_inline_and_nothing_from_elsewhere(name: str) -> None:
    """The policy `default-src 'self'` must not break a page, and no page tells others who reads it."""
    page = page_of(name)
    for tag, attributes in page.tags:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert "style" not in attributes
        assert not [key for key in attributes if key.startswith("on")]
        if tag in {"script", "link", "img", "source", "iframe"}:
            address = attributes.get("src") or attributes.get("href") or ""
            assert address.startswith("/")
            assert not address.startswith("//")


@pytest.mark.parametrize("name", EVERYTHING)
def test_controls_have_labels(name: str) -> None:
    assert page_of(name).unlabelled == []


@pytest.mark.parametrize("name", EVERYTHING)
def test_identifiers_are_unique_and_descriptions_exist(name: str) -> None:
    page = page_of(name)
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.tags:
        for named in (attributes.get("aria-describedby") or attributes.get("aria-labelledby") or "").split():
            assert named in identifiers


@pytest.mark.parametrize("name", EVERYTHING)
def test_posting_forms_carry_the_token(name: str) -> None:
    view, context = EVERYTHING[name]
    for form in re.findall(r'<form[^>]*method="post".*?</form>', render(view, context), re.DOTALL):
        assert f'name="csrf_token" value="{context.csrf_token}"' in form


@pytest.mark.parametrize("name", EVERYTHING)
def test_hostile_strings_stay_text(name: str) -> None:
    """Whatever field an author, a visitor or a model fills: it is shown, never obeyed."""
    view, context = EVERYTHING[name]
    html = render(poison(view), context)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    page = Page(html)
    assert page.misnested == []
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]


def test_a_name_of_the_account_stays_text() -> None:
    view, context = SAMPLES["models"]
    html = render(view, poison(context))
    assert "<script>alert" not in html


def test_script_urls_do_not_become_links() -> None:
    view, context = SAMPLES["model"]
    card = "[a](javascript:alert(1)) [b](data:text/html,x) [c](vbscript:x) [d](//example.org) [e](https://example.org)"
    html = render(replace(view, card=card), context)  # type: ignore[call-arg]
    links = [address for attributes in Page(html).all("a") if (address := attributes.get("href") or "")]
    assert "https://example.org" in links
    assert [link for link in links if link.startswith(("javascript", "data", "vbscript", "//"))] == []


def test_scripts_stay_small() -> None:
    """All scripts of all pages together."""
    assert sum(path.stat().st_size for path in STATIC.rglob("*.js")) < 150_000


def test_vendored_files_are_those_of_the_table() -> None:
    import hashlib

    table = (STATIC / "vendor" / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})` \|$", table, re.MULTILINE)
    files = {path.name for path in (STATIC / "vendor").iterdir() if path.suffix in {".js", ".woff2"}}
    assert {name for name, _ in rows} == files
    for name, digest in rows:
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_static_files_name_nothing_elsewhere() -> None:
    for path in [*(STATIC / "css").iterdir(), *(STATIC / "js").iterdir()]:
        assert not re.search(r"https?://|@import|eval\(|innerHTML", path.read_text()), path.name


def test_scripts_do_not_import_each_other() -> None:
    """An imported file has an address without its digest: it would run twice, and stay in caches."""
    for path in (STATIC / "js").iterdir():
        assert not re.search(r"^\s*import\b|\bimport\(", path.read_text(), re.MULTILINE), path.name


def inputs_of(name: str) -> dict[str, list[dict[str, str | None]]]:
    named: dict[str, list[dict[str, str | None]]] = {}
    for tag, attributes in page_of(name).tags:
        if tag in LABELABLE and attributes.get("name"):
            named.setdefault(str(attributes["name"]), []).append({"tag": tag, **attributes})
    return named


def test_form_follows_the_types() -> None:
    controls = inputs_of("showcase-every-field")
    assert controls["input.title"][0]["maxlength"] == "80"
    assert controls["input.prompt"][0]["tag"] == "textarea"
    assert controls["input.image"][0]["accept"] == "image/png,image/jpeg,image/webp"
    assert [radio["value"] for radio in controls["example.image"]] == ["0", "1", "2", "3", "4", "5"]
    assert [radio["value"] for radio in controls["input.ground"]] == ["auto", "light", "dark"]
    assert controls["input.style"][0]["tag"] == "select"
    assert (controls["input.seed"][0]["step"], controls["input.sharpness"][0]["step"]) == ("1", "any")
    assert controls["input.steps"][0]["aria-invalid"] == "true"
    assert "checked" in controls["example.table"][0]
    assert "required" not in controls["input.table"][0]


def test_used_up_link_offers_no_form_but_keeps_the_history() -> None:
    view, context = SAMPLES["showcase-used-up"]
    html = render(view, context)
    assert '/runs" enctype' not in html
    assert "holiday.jpg" in html
    assert "used up" in html


def test_hidden_owner_is_nowhere() -> None:
    view, context = SAMPLES["showcase-done"]
    html = render(replace(view, owner=None, card=""), context)  # type: ignore[call-arg]
    assert "ada" not in re.sub(r"[\w.]*(?:readable|adata|shadow|load|head)[\w.]*", "", html.lower())


def test_live_run_listens_and_finished_run_does_not() -> None:
    queued, done = (render(*SAMPLES[name]) for name in ("run-queued", "run-done"))
    assert 'sse-connect="/s/' in queued
    assert 'http-equiv="refresh"' in queued
    assert "sse-connect" not in done
    assert 'http-equiv="refresh"' not in done


def test_logs_are_for_owners() -> None:
    view, context = SAMPLES["run-failed"]
    assert "KeyError: &#39;weights&#39;</pre>" in render(view, context)
    hidden = replace(view.run, show_logs=False, message="")  # type: ignore[attr-defined]
    assert "KeyError" not in render(replace(view, run=hidden), context)  # type: ignore[call-arg]


def test_secrets_are_shown_only_when_just_made() -> None:
    view, context = SAMPLES["links"]
    assert isinstance(view, Links)
    (made,) = view.new
    assert made.passcode is not None
    for secret in (made.url, made.passcode):
        assert secret in render(view, context)
        assert secret not in render(replace(view, new=()), context)


def test_refused_fields_are_named_for_the_form() -> None:
    html = render(*FRAGMENTS["error-notice"])
    assert 'data-problem="inputs.image"' in html


def test_views_are_frozen_and_named_by_template() -> None:
    for view, _ in EVERYTHING.values():
        assert isinstance(view, View)
        with pytest.raises(AttributeError):
            view.template = "x"  # type: ignore[misc]


def test_problem_without_a_field_is_shown() -> None:
    view, context = SAMPLES["settings-empty"]
    html = render(replace(view, problems=(FieldProblem(field="", message="Too many tokens."),)), context)  # type: ignore[call-arg]
    assert "Too many tokens." in html


def test_context_is_needed_for_times() -> None:
    view, context = SAMPLES["run-done"]
    later = RequestContext(now=context.now.replace(year=2027), csrf_token="x")
    assert "2 min ago" in render(view, context)
    assert "14 March 2026" in render(view, later)
