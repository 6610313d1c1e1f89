"""Why an environment cannot be made, said so that a person can act on it.

uv tells a story in prose on stderr. Here its wording is matched once, in a table, and turned into a reason,
a culprit and a sentence. Wording that no row knows becomes `internal` with the log's end, never a guess.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from packaging.utils import canonicalize_name

from vitrine_builder.requirements import RequirementsError
from vitrine_common.documents import PASSING_REASONS

LOG_TAIL_LINES = 40


class FailureReason(StrEnum):
    """Why a build failed. `RETRIED` names those that another try may cure."""

    NO_SUCH_PACKAGE = "no_such_package"
    NO_SUCH_VERSION = "no_such_version"
    NO_WHEEL = "no_wheel"
    SOURCE_BUILD = "source_build"
    CONFLICT = "conflict"
    INDEX_UNREACHABLE = "index_unreachable"
    DISK_FULL = "disk_full"
    HASH_MISMATCH = "hash_mismatch"
    INVALID_REQUIREMENTS = "invalid_requirements"
    INSTALL_FAILED = "install_failed"
    INVALID_WHEEL = "invalid_wheel"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


RETRIED = frozenset(FailureReason(reason) for reason in PASSING_REASONS)


class BuildFailure(Exception):
    """A build that cannot go on.

    Attributes:
        reason: what kind of failure.
        sentence: what happened and what to do, for a person.
        culprit: the requirement at fault, as `name` or `name==version`, where one is known.
        log: the end of the resolver's or installer's log, without addresses or credentials.
        parties: other requirements that have a part in it, nearest first.
    """

    def __init__(
        self,
        reason: FailureReason,
        sentence: str,
        culprit: str | None = None,
        log: tuple[str, ...] = (),
        parties: tuple[str, ...] = (),
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.culprit = culprit
        self.log = log
        self.parties = parties


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the operating system's errors of a full disk into a `disk_full` failure."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise BuildFailure(FailureReason.DISK_FULL, _DISK_SENTENCE) from error


_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DISK_SENTENCE = "The builder's disk is full; try again later or tell the operator of the platform."


def from_requirements_error(error: RequirementsError) -> BuildFailure:
    """Return the failure of a requirements file that was refused."""
    return BuildFailure(FailureReason.INVALID_REQUIREMENTS, str(error))


def explain(log: str, returncode: int = 1) -> BuildFailure:
    """Return what uv's stderr means; `returncode` is its exit status, negative for a signal."""
    flat = re.sub(r"\s+", " ", log)
    tail = tuple(line for line in scrub(log).splitlines() if line.strip())[-LOG_TAIL_LINES:]
    if returncode == -25:  # SIGXFSZ: the limit on the size of one file
        sentence = "A package has a file that is larger than the platform allows; use a smaller package."
        return BuildFailure(FailureReason.DISK_FULL, sentence, None, tail)
    for rule in _RULES:
        if match := rule.pattern.search(flat):
            culprit = rule.culprit(match)
            sentence = rule.sentence.format(*match.groups(""))
            return BuildFailure(rule.reason, sentence, culprit, tail, _parties(flat))
    return BuildFailure(
        FailureReason.INTERNAL,
        "The package installer failed in a way that the platform does not know; its log tells more.",
        None,
        tail,
    )


def package_of(requirement: str | None) -> str:
    """Return the name (PEP 503) of the package that `requirement` names, "" for none."""
    match = re.match(r"[A-Za-z0-9][\w.-]*", requirement or "")
    return canonicalize_name(match[0]) if match else ""


def _parties(flat: str) -> tuple[str, ...]:
    """Return the packages that uv's story says somebody requires, in its order."""
    return tuple(dict.fromkeys(_PARTY.findall(flat)))


_PARTY = re.compile(r"(?:you require|[Bb]ecause|versions of|and) ([A-Za-z0-9][\w.-]*)")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s`'\")>,]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PATH = re.compile(r"(?<![\w/.])/(?:[\w.+@~-]+/)+[\w.+@~-]*")


def scrub(text: str) -> str:
    """Return `text` without addresses (an index's may carry credentials) and without host paths.

    Names out of a package may hold what a terminal obeys, or what turns a line around: that goes, too.
    """
    return _PATH.sub("<path>", _ADDRESS.sub("<address>", _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)))


@dataclass(frozen=True)
class _Rule:
    """A wording: its reason and sentence (`{0}` … are the pattern's groups), and how to name the culprit."""

    pattern: re.Pattern[str]
    reason: FailureReason
    sentence: str
    culprit: Callable[[re.Match[str]], str | None]


def _rule(pattern: str, reason: FailureReason, sentence: str, culprit: str | None = "{0}") -> _Rule:
    def name(match: re.Match[str]) -> str | None:
        return culprit.format(*match.groups("")) if culprit else None

    return _Rule(re.compile(pattern), reason, sentence, name)


_NAME = r"([A-Za-z0-9][\w.-]*(?:\[[\w,.-]*\])?)"
_RANGE = r"((?:==|>=|<=|!=|~=|<|>)[^\s,`]+(?:,(?:==|>=|<=|!=|~=|<|>)[^\s,`]+)*)"
_MARKER = r"(?:\{[^}]*\})?"
_WHO = rf"(?:all versions of )?{_NAME}{_MARKER}{_RANGE}?"
_WHEEL_SENTENCE = (
    "`{0}` has no wheel for Python 3.11 on this platform; the platform installs wheels only. "
    "Name another version of it, or put its source into the bundle."
)
WHEEL_REFUSED = (
    "The wheel of `{0}` is damaged, or made to do harm: the platform does not unpack it. "
    "Name another version."
)
INDEX_SENTENCE = "The package index cannot be reached; try again later or tell the operator of the platform."
_CREDENTIALS_SENTENCE = (
    "The package index refuses the platform's credentials; tell the operator of the platform."
)

# Order matters: what a person can act on most directly comes first, and a conflict is the rest of what
# the resolver calls unsatisfiable.
_RULES = (
    _rule(
        r"os error (?:28|122|27)\)|No space left on device|Disk quota exceeded",
        FailureReason.DISK_FULL,
        _DISK_SENTENCE,
        None,
    ),
    _rule(
        rf"Hash mismatch for `{_NAME}==([^`]+)`",
        FailureReason.HASH_MISMATCH,
        "The index now serves other bytes for `{0}=={1}` than the lock names. Do not use them: "
        "ask who keeps the index, or name another version.",
        "{0}=={1}",
    ),
    _rule(
        r"lack of valid authentication credentials|returned a 403 Forbidden error|\(40[13] \w+\) for url",
        FailureReason.INDEX_UNREACHABLE,
        _CREDENTIALS_SENTENCE,
        None,
    ),
    _rule(
        r"Failed to fetch|error sending request|dns error|Connection refused|operation timed out"
        r"|Failed to read `--find-links`|Network connectivity is disabled|request or response body error",
        FailureReason.INDEX_UNREACHABLE,
        INDEX_SENTENCE,
        None,
    ),
    _rule(
        rf"The structure of `{_NAME}` \(v([^)\s]+)\) was invalid",
        FailureReason.INVALID_WHEEL,
        WHEEL_REFUSED.replace("{0}", "{0}=={1}"),
        "{0}=={1}",
    ),
    _rule(
        rf"Failed to install: \S+ \({_NAME}==([^)\s]+)\)(?!.*\(os error (?:2|5|13)\))"
        rf"|Failed to download `{_NAME}==([^`\s]+)`"
        r" cause: (?:Failed to extract archive|The wheel)",
        FailureReason.INVALID_WHEEL,
        WHEEL_REFUSED.replace("{0}", "{0}{2}=={1}{3}"),
        "{0}{2}=={1}{3}",
    ),
    _rule(
        rf"{_NAME} was not found in the (?:package registry|cache|provided package locations)",
        FailureReason.NO_SUCH_PACKAGE,
        "No package is called `{0}`; check the spelling in the requirements.",
    ),
    _rule(
        rf"{_NAME}(?:{_RANGE})? has no (?:usable wheels|wheels with a matching)",
        FailureReason.NO_WHEEL,
        _WHEEL_SENTENCE.replace("{0}", "{0}{1}"),
        "{0}{1}",
    ),
    _rule(
        rf"all versions of {_NAME} have no (?:usable wheels|wheels with a matching)",
        FailureReason.NO_WHEEL,
        _WHEEL_SENTENCE,
    ),
    _rule(
        rf"there is no version of {_NAME}{_MARKER}{_RANGE}",
        FailureReason.NO_SUCH_VERSION,
        "There is no version `{0}{1}`; check the number, or allow a range such as `{0}>=1,<2`.",
        "{0}{1}",
    ),
    _rule(
        rf"only {_NAME}{_MARKER}{_RANGE} (?:is|are) available"
        rf" and (?:you require|(?:all versions of )?\S+ depends? on) \1{_RANGE}",
        FailureReason.NO_SUCH_VERSION,
        "There is no version `{0}{2}`; the index has `{0}{1}`.",
        "{0}{2}",
    ),
    _rule(
        rf"{_WHO} (?:depends? on|needs) {_NAME}{_MARKER}{_RANGE}.* you require \3{_RANGE}",
        FailureReason.CONFLICT,
        "`{0}{1}` needs `{2}{3}`, but your requirements ask for `{2}{4}`. Change one of the two.",
        "{2}{4}",
    ),
    _rule(
        rf"{_WHO} depends? on {_NAME}{_MARKER}{_RANGE},? and {_WHO} depends? on \3{_RANGE}",
        FailureReason.CONFLICT,
        "`{0}{1}` needs `{2}{3}`, and `{4}{5}` needs `{2}{6}`. Name versions of the two that agree.",
        "{0}{1}",
    ),
    _rule(
        rf"you require {_NAME}{_RANGE} and {_NAME}{_RANGE}, we can conclude",
        FailureReason.CONFLICT,
        "Your requirements ask for `{0}{1}` and `{2}{3}`, which no version fulfils. Keep one of the two.",
        "{0}{1}",
    ),
    _rule(
        r"requirements are unsatisfiable",
        FailureReason.CONFLICT,
        "Your requirements contradict each other; the log tells which. Loosen or drop one of them.",
        None,
    ),
    _rule(
        r"[Cc]ouldn't parse requirement|Failed to parse",
        FailureReason.INVALID_REQUIREMENTS,
        "The requirements cannot be read; write one requirement a line, as `name==version`.",
        None,
    ),
)
