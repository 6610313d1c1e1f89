"""Model cards: Markdown to HTML that is safe to show, whoever wrote it.

Raw HTML is shown as text, links are limited to http, https, mailto and places of the same page and open
without a referrer, and images become links, because a page loads nothing from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_SAFE_LINK = re.compile(r"^(https?://|mailto:|#)", re.IGNORECASE)
_TOP_HEADING = 3
_LINK_REL = "nofollow noopener noreferrer"
_FENCE = re.compile(r"\A\ufeff?---[ \t]*\r?\n(?P<yaml>.*?\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
MAX_LENGTH = 200_000


def split_front_matter(card: str) -> tuple[str, str]:
    """Return the YAML between `---` lines at the beginning (empty without), and the Markdown after it."""
    found = _FENCE.match(card)
    return ((found["yaml"] or ""), card[found.end() :]) if found else ("", card)


@lru_cache(maxsize=64)
def render_markdown(text: str) -> Markup:
    """Return safe HTML of CommonMark with tables and strikethrough; headings start at level 3.

    Front matter is left out; text beyond 200,000 characters is cut.
    """
    parser = _parser()
    tokens = parser.parse(split_front_matter(text)[1][:MAX_LENGTH])
    for token in tokens:
        _adapt(token)
    html = parser.renderer.render(tokens, parser.options, {})
    return Markup(html)  # noqa: S704 - the parser escapes all that it did not make itself


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = _is_safe_link  # type: ignore[method-assign]
    return parser


def _is_safe_link(url: str) -> bool:
    return bool(_SAFE_LINK.match(url.strip()))


def _adapt(token: Token) -> None:
    """Fit one block to the pages: lower headings, alignment as a class, no images."""
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(int(token.tag[1:]) + _TOP_HEADING - 1, 6)}"
    if token.type in ("th_open", "td_open"):
        style = str(token.attrs.pop("style", ""))
        if style and not style.endswith("left"):
            token.attrSet("class", "mid" if style.endswith("center") else "num")
    if token.children:
        token.children = list(_adapt_inline(token.children))


def _adapt_inline(tokens: list[Token]) -> Iterator[Token]:
    depth = 0
    for token in tokens:
        depth += token.nesting if token.type in ("link_open", "link_close") else 0
        if token.type == "image":
            yield from _image_words(token, linked=depth == 0)
            continue
        if token.type == "link_open":
            token.attrSet("rel", _LINK_REL)
        yield token


def _image_words(image: Token, *, linked: bool) -> Iterator[Token]:
    """Stand for an image: its description, which leads to it unless it is inside a link already."""
    words = Token("text", "", 0, content=image.content or "image")
    if not linked:
        yield words
        return
    yield Token("link_open", "a", 1, attrs={"href": image.attrs["src"], "rel": _LINK_REL})
    yield words
    yield Token("link_close", "a", -1)
