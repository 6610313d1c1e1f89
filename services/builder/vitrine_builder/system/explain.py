"""Why Debian packages cannot be had, said so that a person can act on it.

As in `vitrine_builder.failures`, apt's and dpkg's wording is matched once, in a table.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vitrine_builder.failures import LOG_TAIL_LINES, BuildFailure, FailureReason, scrub

_NAME = r"([a-z0-9][a-z0-9+.-]*)"
_DISK = "The builder's disk is full; try again later or tell the operator of the platform."
_UNREACHABLE = (
    "The source of Debian packages cannot be reached; try again later or tell the operator of the platform."
)
_UNSIGNED = (
    "The source of Debian packages is not signed with the keys that the platform trusts; tell the operator "
    "(VITRINE_BUILDER_APT_KEYRING)."
)


class SystemFailure(BuildFailure):
    """A failure of system packages that can still be told more precisely."""

    def naming(self, names: Iterable[str]) -> SystemFailure:
        """Return this failure with names that are near to the culprit's."""
        near = difflib.get_close_matches(self.culprit or "", _candidates(names, self.culprit or ""), 3, 0.75)
        if not near:
            return self
        offer = " or ".join(f"`{name}`" for name in near)
        return SystemFailure(self.reason, f"{self.sentence} Near it: {offer}.", self.culprit, self.log)

    def offering(self, versions: Sequence[str]) -> SystemFailure:
        """Return this failure with the versions that there are."""
        if not versions:
            return self
        offer = ", ".join(f"`{version}`" for version in dict.fromkeys(versions))
        return SystemFailure(self.reason, f"{self.sentence} There is: {offer}.", self.culprit, self.log)


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    reason: FailureReason
    sentence: str
    culprit: str | None = "{0}"


def _rule(pattern: str, reason: FailureReason, sentence: str, culprit: str | None = "{0}") -> _Rule:
    return _Rule(re.compile(pattern, re.MULTILINE), reason, sentence, culprit)


_RULES = (
    _rule(
        r"No space left on device|You don't have enough free space|Disk quota exceeded",
        FailureReason.DISK_FULL,
        _DISK,
        None,
    ),
    _rule(
        r"NO_PUBKEY|is not signed|couldn't be verified|Hash Sum mismatch|EXPKEYSIG|invalid signature",
        FailureReason.INDEX_UNREACHABLE,
        _UNSIGNED,
        None,
    ),
    _rule(
        rf"^E: Unable to locate package {_NAME}",
        FailureReason.NO_SUCH_PACKAGE,
        "Debian has no package `{0}`; check the spelling in the list of system packages.",
    ),
    _rule(
        rf"^E: Package '{_NAME}' has no installation candidate",
        FailureReason.NO_SUCH_PACKAGE,
        "`{0}` cannot be installed by this name: it is virtual or gone; the log tells what provides it.",
    ),
    _rule(
        rf"^E: Version '([^']+)' for '{_NAME}' was not found",
        FailureReason.NO_SUCH_VERSION,
        "Debian has no version `{0}` of `{1}`; name another one, or leave out the version.",
        "{1}={0}",
    ),
    _rule(
        rf"^ {_NAME} : (?:Pre)?(?:Depends|Conflicts|Breaks): {_NAME}(.*)$",
        FailureReason.CONFLICT,
        "`{0}` does not go together with `{1}`{2}. Drop or change one of them.",
    ),
    _rule(
        r"unmet dependencies|held broken packages|E: Error, pkgProblemResolver",
        FailureReason.CONFLICT,
        "The system packages contradict each other; the log tells which. Drop one of them.",
        None,
    ),
    _rule(
        rf"^dpkg: error processing (?:package|archive) (?:/\S*/)?{_NAME}[\s:_]",
        FailureReason.INSTALL_FAILED,
        "The Debian package `{0}` could not be installed; the log tells what its script said.",
    ),
    _rule(
        r"Could not resolve|Could not connect|Unable to connect|Connection (?:failed|refused|timed out)"
        r"|Failed to fetch|Unable to fetch some archives|Some index files failed"
        r"|does not have a Release file",
        FailureReason.INDEX_UNREACHABLE,
        _UNREACHABLE,
        None,
    ),
)


def explain_apt(log: str, wanted: Sequence[str] = ()) -> SystemFailure:
    """Return what apt's output means; `wanted` are the packages it was asked for."""
    lines = [line for line in scrub(log).splitlines() if line.strip()]
    tail = tuple(lines[-LOG_TAIL_LINES:])
    for rule in _RULES:
        if match := rule.pattern.search(log):
            groups = [group or "" for group in match.groups()]
            culprit = rule.culprit.format(*groups) if rule.culprit else None
            return SystemFailure(rule.reason, rule.sentence.format(*groups), culprit, tail)
    culprit = wanted[0] if len(wanted) == 1 else None
    sentence = "apt failed in a way that the platform does not know; its log tells more."
    return SystemFailure(FailureReason.INTERNAL, sentence, culprit, tail)


def _candidates(names: Iterable[str], wanted: str) -> list[str]:
    # Comparing sixty thousand names takes seconds: a near name rarely differs in its first letter.
    return [name for name in names if name[:1] == wanted[:1] and abs(len(name) - len(wanted)) <= 4]
