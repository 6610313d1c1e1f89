"""Texts of programs without what would tell whose they are: names, addresses, paths, hosts.

Only for blind links. It is thorough for what is known (the identities that a link was made with, the
bundle's files, this instance's own names) and for what has a form (paths, e-mail and network addresses);
it cannot know what else a name may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

HIDDEN = "[hidden]"
MAX_TEXT = 1 << 15
"""Of a longer text the end is looked through and shown; patterns over more would hold up other requests."""
_MAX_FILE = 1 << 16

_EMAIL = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,8}")
_URL = re.compile(r"\b[a-z][a-z0-9+.\-]{1,10}://[^\s'\"<>)\]]{1,2000}", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.:/<~-])(?:~[\w.-]*|[A-Za-z]:\\[^\s'\":;,()<>|]*|)(?:/[^\s/'\":;,()<>|\0]+)+/?")
_WINDOWS_PATH = re.compile(r"\b[A-Za-z]:\\[^\s'\":;,()<>|]+")
_ADDRESS = re.compile(
    r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"
    # IPv6, and cards' own addresses; neither times of day nor slices such as `[1::2]`.
    r"|(?<![\w:.])(?:[0-9a-f]{3,4}(?::[0-9a-f]{1,4}){0,6}::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?"
    r"|(?:[0-9a-f]{1,4}:){5,7}[0-9a-f]{1,4})(?![\w:])",
    re.IGNORECASE,
)
_LIBRARY = re.compile(r"(?:site-packages|dist-packages|/lib/python3(?:\.\d+)?)/(.+)")
_ORCID = re.compile(r"\b\d{4}-\d{4}-\d{4}-\d{3}[\dX]\b")
_CODE_HOSTS = re.compile(
    r"\b(?:github|gitlab|bitbucket|codeberg|huggingface|kaggle|sourceforge|gitee)\.(?:com|org|co|net|io)\b\S*"
    r"|\b[\w-]+\.github\.io\b\S*",
    re.IGNORECASE,
)
_AUTHOR_LINES = re.compile(
    r"^\W{0,4}(?:-\s*)?(?:name|author|authors|email|maintainer|given-names|family-names|affiliation|orcid)"
    r"\s*[:=]\s*(.{2,300})$",
    re.IGNORECASE | re.MULTILINE,
)
_RUN = re.compile(rb"(?:[\t\x20-\x7e]|[\xc3-\xcf][\x80-\xbf]){8,}")
"""Letters of ASCII, and those of two bytes in UTF-8."""
_WIDE_RUN = re.compile(rb"(?:[\x20-\x7e]\0){6,}")
_LONG = 5
_QUOTED = re.compile(r"[\"']([^\"']{3,100})[\"']")


class Scrubber:
    """Makes texts harmless.

    Args:
        identities: words that would tell whose it is; any case, and with other separators, too.
        hidden: words of this instance: host names, a bucket.
        paths: the bundle's files, by their path in it.
        rename: what a file of the bundle is called instead.
    """

    def __init__(
        self,
        identities: Iterable[str] = (),
        hidden: Iterable[str] = (),
        paths: Sequence[str] = (),
        rename: Callable[[str], str] = lambda _: HIDDEN,
    ) -> None:
        self._rename = rename
        self._names = self._aliases(paths)
        words = [*identities, *hidden]
        self._words = _any_of(words)
        self._files = _files(self._names)
        self.longest = max((len(word) for word in (*words, *self._names)), default=1)
        """Characters of the longest word that is looked for."""

    def straddling(self, text: str, place: int) -> tuple[int, int] | None:
        """Return where a word begins and ends that a cut at `place` would go through, if there is one."""
        for pattern in (self._words, self._files):
            for match in pattern.finditer(text) if pattern is not None else ():
                if match.start() < place < match.end():
                    return match.span()
        return None

    def _aliases(self, paths: Sequence[str]) -> dict[str, str]:
        """Map each path, and each base name that only one path has, to its alias."""
        names = {path: self._rename(path) for path in paths}
        for path, alias in list(names.items()):
            names.setdefault(path.rpartition("/")[2], alias)
        return names

    def __call__(self, text: str) -> str:
        """Return `text` without any of it."""
        if not text:
            return text
        text = self._end_of(text)
        text = _EMAIL.sub(HIDDEN, text)
        text = _URL.sub(HIDDEN, text)
        text = _WINDOWS_PATH.sub(self._path, text)
        text = _PATH.sub(self._path, text)
        if self._files is not None:
            text = self._files.sub(lambda match: self._names[match[0]], text)
        text = _ADDRESS.sub(HIDDEN, text)
        return self._words.sub(HIDDEN, text) if self._words is not None else text

    def _end_of(self, text: str) -> str:
        """Return the end of a text that is too long, without what may be the end of a name."""
        if len(text) <= MAX_TEXT:
            return text
        text = text[-MAX_TEXT:]
        line = text.find("\n", 0, MAX_TEXT // 2)
        return text[line + 1 :] if line >= 0 else text[self.longest :]

    def _path(self, match: re.Match[str]) -> str:
        """Return what stands for an absolute path: a library's own part, or an alias."""
        path = match[0].replace("\\", "/").rstrip("/")
        library = _LIBRARY.search(path)
        if library is not None:
            return library[1]
        for start in range(len(path)):
            if path[start] == "/" and path[start + 1 :] in self._names:
                return self._names[path[start + 1 :]]
        return self._rename(path)


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern of the words; what separates their parts may be any of ` ._-`, or nothing."""
    patterns = []
    for word in sorted({word for word in words if len(word) >= 2}, key=len, reverse=True):
        parts = [re.escape(part) for part in re.split(r"[\s._\-]+", word) if part]
        pattern = r"[\s._\-]?".join(parts) if parts else re.escape(word)
        # A short word may be part of many others; a long one tells wherever it stands.
        patterns.append(pattern if len(word) >= _LONG else rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])")
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None


def _files(names: dict[str, str]) -> re.Pattern[str] | None:
    if not names:
        return None
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w/.-])(?:{listed})(?![\w/-])")


def keyed_words(texts: Iterable[str]) -> list[str]:
    """Return names and addresses that files about a project (`pyproject.toml`, `.git/config`) give."""
    found: list[str] = []
    for text in (whole[:_MAX_FILE] for whole in texts):
        found += _EMAIL.findall(text)
        for line in _AUTHOR_LINES.findall(text):
            quoted = _QUOTED.findall(line)
            found += quoted or [line.strip(" \t,[]{}<>\r")]
    return [word for word in found if 3 <= len(word) <= 100]


def readable(data: bytes) -> str:
    """Return what a person, or `strings`, reads in a file, one run of characters a line.

    Notes in a picture (EXIF, XMP, PNG's text chunks) stand in it as they are, in UTF-8 or in UTF-16.
    """
    runs = [run.decode(errors="replace") for run in _RUN.findall(data)]
    return "\n".join([*runs, *(run.decode("utf-16-le") for run in _WIDE_RUN.findall(data))])


def telling(text: str, identities: Iterable[str]) -> list[str]:
    """Return what in a text for readers would tell who wrote it, in the order of the text, each once."""
    text = text[:_MAX_FILE]
    patterns = [_EMAIL, _CODE_HOSTS, _ORCID, _any_of(identities)]
    found = [
        (match.start(), match[0])
        for pattern in patterns
        if pattern is not None
        for match in pattern.finditer(text)
    ]
    return list(dict.fromkeys(word for _, word in sorted(found)))
