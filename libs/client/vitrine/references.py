"""What names a version or a link: `owner/name@version`, a share URL, a link's token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from vitrine.errors import Misuse

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REFERENCE = re.compile(rf"^(?P<owner>{_NAME})/(?P<name>{_NAME})(?:@(?P<version>[A-Za-z0-9:._-]+))?$")
_TOKEN = re.compile(r"^[A-Za-z0-9_-]{16,128}$")


@dataclass(frozen=True)
class Reference:
    """A version by its name; `version` is a number, `latest` or a digest prefix."""

    owner: str
    name: str
    version: str = "latest"

    @property
    def path(self) -> str:
        """The reference as the API's paths have it."""
        return "/".join(quote(part, safe=":") for part in (self.owner, self.name, self.version))

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}@{self.version}"


@dataclass(frozen=True)
class LinkAddress:
    """A share link; `url` is the platform that it lives on, None for the one that is configured."""

    token: str
    url: str | None = None


def parse_reference(text: str) -> Reference:
    """Read `owner/name@version`; without `@…` it is the latest. Raises Misuse."""
    found = _REFERENCE.match(text.strip())
    if found is None:
        raise Misuse(
            f"`{text}` is not a version", advice="Write owner/model@version, as `vitrine models` does."
        )
    return Reference(found["owner"], found["name"], found["version"] or "latest")


def parse_link(text: str) -> LinkAddress:
    """Read a share URL (`https://host/s/TOKEN`) or a token. Raises Misuse."""
    text = text.strip()
    if "://" in text:
        place = urlsplit(text)
        before, mark, token = place.path.rstrip("/").rpartition("/s/")
        if place.scheme in {"http", "https"} and place.netloc and mark and _TOKEN.match(token):
            return LinkAddress(token, f"{place.scheme}://{place.netloc}{before}")
    elif _TOKEN.match(text):
        return LinkAddress(text)
    raise Misuse(
        f"`{text}` is not a share link", advice="Give the whole URL, https://…/s/…, or its last part."
    )


def parse_target(text: str) -> Reference | LinkAddress:
    """Read what can be run: a version, or a link. Raises Misuse."""
    if "://" not in text and "/" in text:
        return parse_reference(text)
    try:
        return parse_link(text)
    except Misuse:
        advice = "Write owner/model@version, or a share link."
        raise Misuse(f"`{text}` is neither a version nor a share link", advice=advice) from None
