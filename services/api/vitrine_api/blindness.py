"""What the holder of a link may see, and what its owner may: the one module that decides it.

A blind link is a history-free snapshot. Its holder sees the model's work, and neither its name, owner,
reference, version number, file names nor digests; texts that the platform did not write itself (messages
of a run that failed, what it printed while it ran) pass a `Scrubber` (see `Sight`). What the author wrote
for readers (description, card) and what the model answers stay as they are: authors are warned when they
share (`vitrine_api.blind_texts`). The owner sees such a link's use in aggregate alone, which
`vitrine_api.blind_use` computes.

Everything here also takes links that are not blind, and then changes nothing: callers need not ask.
"""

from __future__ import annotations

import hashlib
import hmac
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitrine_api.scrubbed_streams import ScrubbedNews
from vitrine_api.scrubbing import Scrubber, keyed_words
from vitrine_api.specs import spec_of
from vitrine_common.documents import ShareLink, Venue, Version
from vitrine_common.receipts.commitments import Domain, commit, key_of

EXAMPLE = "example-"


def title(link: ShareLink, version: Version) -> str:
    """Return what the model is called: a neutral name of the link's own for a blind one."""
    return alias(link) if link.blind else version.model


def alias(link: ShareLink) -> str:
    """Return a neutral name that is the same for one link and differs between links."""
    return f"Model {_keyed(link, 'alias')[:4].upper()}"


def owner(link: ShareLink, version: Version) -> str | None:
    """Return the owner's account name, or None where it is not told."""
    return None if link.blind else version.owner


def number(link: ShareLink, version: Version) -> str:
    """Return the version's number; empty where it would tell of earlier versions."""
    return "" if link.blind else str(version.number)


def reference(link: ShareLink, version: Version) -> str | None:
    """Return `owner/model@number`, or None where it is not told."""
    return None if link.blind else version.reference


def shows_history(link: ShareLink) -> bool:
    """Say whether the holder may see what was before: other versions, earlier runs and checks of others."""
    return not link.blind


def shows_environment(link: ShareLink) -> bool:
    """Say whether the holder may see packages and layers: a lock is rare enough to recognise a model by."""
    return not link.blind


def digest(link: ShareLink | None, domain: Domain, raw: str) -> str:
    """Return a digest as the holder sees it: for a blind link, a commitment that only its key opens.

    Args:
        link: by which the holder came; None for none.
        domain: what the digest is of.
        raw: the digest.
    """
    return commit(key_of(link.key), domain, raw) if link is not None and link.blind and raw else raw


def _keyed(link: ShareLink, text: str) -> str:
    return hmac.new(bytes.fromhex(link.key), text.encode(), hashlib.sha256).hexdigest()


def filename(link: ShareLink, name: str, given: str | None) -> str | None:
    """Return the name of a file that the model made or brought: what it is for and its ending, if blind."""
    if not link.blind or not given:
        return given
    return f"{name}{_ending(given)}"


def _ending(path: str) -> str:
    ending = posixpath.splitext(path)[1].lower()
    return ending if 1 < len(ending) <= 8 and ending[1:].isascii() and ending[1:].isalnum() else ""


def interface(link: ShareLink, sections: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return inputs and outputs as the holder sees them: examples that are files lose their paths."""
    if not link.blind:
        return sections
    return {kind: [_without_paths(item) for item in items] for kind, items in sections.items()}


def _without_paths(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") not in {"image", "audio", "video", "file", "table"}:
        return item
    shown = {key: value for key, value in item.items() if key not in {"default", "destination", "path"}}
    if "examples" in item:
        shown["examples"] = [example_name(index, path) for index, path in enumerate(item["examples"])]
    return shown


def example_name(index: int, path: str) -> str:
    """Return what an example file is called on a blind link."""
    return f"{EXAMPLE}{index + 1}{_ending(str(path))}"


def with_example_paths(link: ShareLink, version: Version, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a run's values with the bundle's paths for the examples that holders know as `example-N`."""
    if not link.blind:
        return raw
    paths = {
        item.name: {example_name(index, path): path for index, path in enumerate(item.examples)}
        for item in spec_of(version).effective_inputs()
        if item.is_file
    }
    return {name: _with_path(value, paths.get(name, {})) for name, value in raw.items()}


def _with_path(value: Any, paths: Mapping[str, str]) -> Any:
    if isinstance(value, dict) and set(value) == {"example"}:
        return {"example": paths.get(str(value["example"]), value["example"])}
    return value


def authors_shown(venue: Venue, *, to_chair: bool) -> bool:
    """Say whether a venue's chair, or else its reviewers, learn who submitted."""
    if to_chair:
        return not venue.hidden_from_chair or venue.unblinded_at is not None
    return not venue.blind or (venue.unblinded_at is not None and venue.revealed)


@dataclass(frozen=True)
class Sight:
    """What somebody sees of runs: everything, unless they came by a blind link."""

    link: ShareLink | None = None
    scrub: Scrubber | None = None

    def text(self, text: str) -> str:
        """Return a text that a program or the platform wrote about a run."""
        return self.scrub(text) if self.scrub else text

    def news(self) -> ScrubbedNews:
        """Return what news of one run pass before one follower is told."""
        return ScrubbedNews(self.scrub)

    def digest(self, domain: Domain, raw: str) -> str:
        """Return a digest, or the commitment to it."""
        return digest(self.link, domain, raw)

    def output_name(self, name: str, given: str | None) -> str | None:
        """Return the name of a file that the model made."""
        return given if self.link is None else filename(self.link, name, given)


EVERYTHING = Sight()
"""For owners, and for holders of links that are not blind."""


def sight(link: ShareLink, platform_words: Sequence[str], paths: Sequence[str] = ()) -> Sight:
    """Return what the holder of a link sees of runs.

    Args:
        link: by which the holder came.
        platform_words: what would tell of this instance: host names, the bucket's name.
        paths: the bundle's files; they get names that say nothing.
    """
    if not link.blind:
        return EVERYTHING

    def rename(path: str) -> str:
        return f"file-{_keyed(link, f'path:{path}')[:6]}{_ending(path)}"

    return Sight(link, Scrubber(link.identities, platform_words, paths, rename))


def identities_of(user_name: str, user_email: str, version: Version, texts: Sequence[str]) -> list[str]:
    """Return what would tell who the owner is, longest first, to be kept with a blind link.

    Args:
        user_name: the account's name.
        user_email: the account's address; its local part and its institution's domain count, too.
        version: the shared version: its reference and the model's name.
        texts: of files that name authors (`pyproject.toml`, `CITATION.cff`, `.git/config`, …).
    """
    local, _, domain = user_email.partition("@")
    found = [user_name, user_email, local, domain, version.reference, version.model, *keyed_words(texts)]
    spec = spec_of(version)
    found.append(spec.name)
    return sorted(
        {word.strip() for word in found if len(word.strip()) >= 3}, key=lambda word: (-len(word), word)
    )
