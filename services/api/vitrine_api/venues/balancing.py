"""Who reviews what: conflicts of interest, and an assignment in which nobody has much more than others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

PROVIDERS = frozenset(
    {
        *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "yahoo.com", "icloud.com"),
        *("gmx.de", "gmx.net", "web.de", "proton.me", "protonmail.com", "qq.com", "163.com", "126.com"),
    }
)
"""Of these domains everybody has addresses: sharing one is no conflict."""


def conflict(
    reviewer_email: str,
    author_email: str,
    declared_by_reviewer: Iterable[str],
    declared_by_author: Iterable[str],
) -> str:
    """Return why somebody must not review an author's work; empty where nothing stands against it.

    Args:
        reviewer_email: lower case, as all of these.
        author_email: of the account that submitted.
        declared_by_reviewer: addresses and domains of authors.
        declared_by_author: addresses and domains of reviewers.
    """
    if reviewer_email == author_email:
        return "is the author"
    domains = reviewer_email.rpartition("@")[2], author_email.rpartition("@")[2]
    if domains[0] not in PROVIDERS and _related(*domains):
        return "has an address of the same institution"
    if any(_covers(word, author_email) for word in declared_by_reviewer):
        return "has a declared conflict with the author"
    if any(_covers(word, reviewer_email) for word in declared_by_author):
        return "was named by the author as somebody with a conflict"
    return ""


def _covers(word: str, email: str) -> bool:
    return word == email if "@" in word else _related(word, email.rpartition("@")[2])


def _related(one: str, other: str) -> bool:
    """Say whether domains are the same, or one is a part of the other."""
    return one == other or one.endswith("." + other) or other.endswith("." + one)


def balanced(
    submissions: Sequence[str],
    reviewers: Sequence[str],
    forbidden: AbstractSet[tuple[str, str]],
    existing: AbstractSet[tuple[str, str]],
    per_submission: int,
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Return new (submission, reviewer) pairs, and by submission how many reviewers still lack.

    Every submission gets `per_submission` reviewers in all as far as conflicts allow; then the most that
    one reviewer has is as small as it can be. Found as a flow: while a submission lacks somebody, a chain
    of exchanges is sought (Ford-Fulkerson), and nobody's limit is raised before no chain is left.

    Args:
        submissions: their ids.
        reviewers: their ids.
        forbidden: pairs that must not be.
        existing: pairs that are, and stay.
        per_submission: how many reviewers each shall have.
    """
    allowed = {
        one: [who for who in reviewers if (one, who) not in forbidden and (one, who) not in existing]
        for one in submissions
    }
    kept = Counter(who for one, who in existing if one in allowed)
    has = Counter(one for one, _ in existing)
    flow = _Flow(allowed, kept)
    lacking = [one for one in submissions for _ in range(max(0, per_submission - has[one]))]
    limit = min((kept[who] for who in reviewers), default=0)
    highest = len(submissions)
    while lacking and limit <= highest:
        lacking = [one for one in lacking if not flow.add(one, limit)]
        limit += 1
    pairs = [(one, who) for one in submissions for who in reviewers if who in flow.of[one]]
    return pairs, dict(Counter(lacking))


class _Flow:
    def __init__(self, allowed: Mapping[str, Sequence[str]], kept: Counter[str]) -> None:
        self._allowed = allowed
        self._load = Counter(kept)
        self.of: dict[str, set[str]] = {one: set() for one in allowed}

    def add(self, submission: str, limit: int) -> bool:
        """Give a submission one more reviewer, exchanging others' if need be; nobody gets over `limit`."""
        came: dict[str, tuple[str, str]] = {}
        """By reviewer: the submission that would take them, and who gives that one up (or nobody)."""
        frontier, seen = [(submission, "")], {submission}
        while frontier:
            one, given_up = frontier.pop(0)
            for who in sorted(self._allowed[one], key=lambda name: self._load[name]):
                if who in came or who in self.of[one]:
                    continue
                came[who] = (one, given_up)
                if self._load[who] < limit:
                    self._exchange(who, came)
                    return True
                for other in self.of:
                    if who in self.of[other] and other not in seen:
                        seen.add(other)
                        frontier.append((other, who))
        return False

    def _exchange(self, last: str, came: Mapping[str, tuple[str, str]]) -> None:
        self._load[last] += 1
        who = last
        while who:
            one, given_up = came[who]
            self.of[one].add(who)
            if given_up:
                self.of[one].discard(given_up)
            who = given_up
