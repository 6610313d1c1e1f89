"""Where Debian packages come from: the operator's settings, or else what the host's own apt uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SNAPSHOT = "{snapshot}"
_SNAPSHOT_TIME = re.compile(r"^\d{8}T\d{6}Z$")
_URI = re.compile(r"^(?:https?|file|copy)://?[^\s\[\]'\"]+$")
_WORD = re.compile(r"^[a-z0-9][a-z0-9./_-]*$")


class SourcesError(Exception):
    """Package sources that cannot be used; the message names the setting and what to write."""


@dataclass(frozen=True)
class Source:
    """One archive: its address, a suite such as `bookworm-security`, and components."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)


@dataclass(frozen=True)
class Sources:
    """All archives of one Debian release; the first is what a base is made from.

    Attributes:
        keyring: a host file with the keys that sign them; None trusts them unsigned (tests, local archives).
        snapshot: the time that addresses are frozen at; packages of a snapshot stay valid for ever.
    """

    release: str
    entries: tuple[Source, ...]
    keyring: Path | None = KEYRING
    snapshot: str = ""

    def to_text(self, keyring: str | None) -> str:
        """Return a `sources.list`; `keyring` is where the reader of it finds the keys."""
        option = f"[signed-by={keyring}]" if keyring else "[trusted=yes]"
        lines = [f"deb {option} {each.uri} {each.suite} {' '.join(each.components)}" for each in self.entries]
        return "".join(f"{line}\n" for line in lines)


def parse_sources(text: str, release: str, *, keyring: Path | None = KEYRING, snapshot: str = "") -> Sources:
    """Read `ADDRESS SUITE COMPONENT…` entries, separated by line ends or semicolons.

    `{snapshot}` in an address becomes the snapshot's time.

    Raises:
        SourcesError: an entry is malformed, or names no archive of `release`.
    """
    if snapshot and not _SNAPSHOT_TIME.match(snapshot):
        raise SourcesError(f"the snapshot `{snapshot}` is no time; write it as 20261101T000000Z")
    entries = []
    for line in filter(None, (part.strip() for part in re.split(r"[\n;]", text))):
        uri, *words = line.split()
        uri = uri.replace(SNAPSHOT, snapshot)
        if not _URI.match(uri) or len(words) < 2 or not all(map(_WORD.match, words)):
            raise SourcesError(f"`{line}` is no package source; write `ADDRESS {release} main`")
        if SNAPSHOT in line and not snapshot:
            raise SourcesError(f"`{line}` needs a snapshot: set VITRINE_BUILDER_APT_SNAPSHOT")
        entries.append(Source(uri, words[0], tuple(words[1:])))
    if not any(each.suite == release for each in entries):
        raise SourcesError(f"no package source is of the suite {release}: set VITRINE_BUILDER_APT_SOURCES")
    entries.sort(key=lambda each: each.suite != release)
    return Sources(release, tuple(entries), keyring, snapshot)


def host_sources(release: str, root: Path = Path("/etc/apt")) -> str:
    """Return the archives of `release` that this host's apt is set to, as `parse_sources` reads them."""
    found = []
    for uri, suite, components in (*_lists(root), *_deb822(root)):
        wanted = suite in {release, f"{release}-updates", f"{release}-security"}
        if wanted and "main" in components and _URI.match(uri):
            found.append(f"{uri} {suite} main")
    return "\n".join(dict.fromkeys(found))


def _lists(root: Path) -> Iterator[tuple[str, str, list[str]]]:
    for file in (root / "sources.list", *sorted(root.glob("sources.list.d/*.list"))):
        for line in file.read_text(errors="replace").splitlines() if file.is_file() else ():
            words = re.sub(r"\[[^\]]*\]", " ", line.partition("#")[0]).split()
            if len(words) > 3 and words[0] == "deb":
                yield words[1], words[2], words[3:]


def _deb822(root: Path) -> Iterator[tuple[str, str, list[str]]]:
    for file in sorted(root.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", file.read_text(errors="replace")):
            lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
            fields = dict(_field(line) for line in lines if re.match(r"^[A-Za-z-]+:", line))
            if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
                continue
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    yield uri, suite, fields.get("components", "").split()


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()
