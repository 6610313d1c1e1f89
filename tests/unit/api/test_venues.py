"""What venues compute: deadlines in time zones, conflicts, balanced assignment, harmless CSV."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from vitrine_api.policy import Action, Member, Principal, Referee, Visitor, allows
from vitrine_api.venues.balancing import balanced, conflict
from vitrine_api.venues.matrix import harmless
from vitrine_api.venues.plans import local_words, parse_deadline, parse_roster
from vitrine_api.venues.tokens import link_token, reviewer_token, submit_token
from vitrine_common.clock import utcnow
from vitrine_common.documents import (
    ShareLink,
    User,
    Venue,
    VenueReview,
    VenueReviewer,
    VenueSubmission,
)
from vitrine_common.errors import Invalid


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-12-01", "UTC", datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)),
        ("2026-12-01T17:00", "Europe/Berlin", datetime(2026, 12, 1, 16, 0, tzinfo=UTC)),
        ("2026-07-01T17:00:30", "Europe/Berlin", datetime(2026, 7, 1, 15, 0, 30, tzinfo=UTC)),
        ("2026-12-01", "AoE", datetime(2026, 12, 2, 11, 59, 59, tzinfo=UTC)),
        # The hour that comes twice: its first one is meant.
        ("2026-10-25T02:30", "Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-12-01T17:00+05:30", "UTC", datetime(2026, 12, 1, 11, 30, tzinfo=UTC)),
    ],
)
def test_deadlines_are_moments(text: str, zone: str, moment: datetime) -> None:
    assert parse_deadline(text, zone) == moment


@pytest.mark.parametrize(
    ("text", "zone", "field"),
    [
        ("2026-03-29T02:30", "Europe/Berlin", "deadline"),
        ("soon", "UTC", "deadline"),
        ("9999-12-31", "AoE", "deadline"),
        ("2026-12-01", "../etc/passwd", "time_zone"),
        ("2026-12-01", "", "time_zone"),
    ],
)
def test_deadlines_that_are_none_are_refused(text: str, zone: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_deadline(text, zone)
    assert refused.value.problems[0].field == field


def test_a_deadline_is_told_as_it_was_given() -> None:
    assert local_words(parse_deadline("2026-12-01", "AoE"), "AoE") == "1 December 2026, 23:59:59 AoE"


def test_rosters_are_read_by_line() -> None:
    first, second = parse_roster(
        "Eva Wong <Eva@Uni.example>; not: lab.example, bo@b.example\n\nq@x.example\n"
    )
    assert (first.name, first.email) == ("Eva Wong", "eva@uni.example")
    assert first.conflicts == ("lab.example", "bo@b.example")
    assert (second.name, second.email) == ("q", "q@x.example")
    for wrong in ("Eva", "Eva <eva>", "a@b.example\nA@b.example", "a@b.example; not: nobody"):
        with pytest.raises(Invalid):
            parse_roster(wrong)


@pytest.mark.parametrize(
    ("reviewer", "author", "by_reviewer", "by_author", "found"),
    [
        ("a@uni.example", "a@uni.example", [], [], True),
        ("a@cs.uni.example", "b@uni.example", [], [], True),
        ("a@uni.example", "b@cs.uni.example", [], [], True),
        ("a@notuni.example", "b@uni.example", [], [], False),
        ("a@gmail.com", "b@gmail.com", [], [], False),
        ("a@one.example", "b@two.example", ["two.example"], [], True),
        ("a@one.example", "b@two.example", ["b@two.example"], [], True),
        ("a@one.example", "b@two.example", ["c@two.example"], [], False),
        ("a@one.example", "b@two.example", [], ["one.example"], True),
        ("a@one.example", "b@two.example", [], ["c@one.example"], False),
    ],
)
def test_conflicts_of_interest(
    reviewer: str, author: str, by_reviewer: list[str], by_author: list[str], found: bool
) -> None:
    assert bool(conflict(reviewer, author, by_reviewer, by_author)) is found


def test_a_chain_of_exchanges_is_found_where_the_nearest_choice_leads_nowhere() -> None:
    forbidden = {("s2", "r2"), ("s3", "r2"), ("s3", "r3")}
    pairs, lacking = balanced(["s1", "s2", "s3"], ["r1", "r2", "r3"], forbidden, set(), 1)
    assert not lacking
    assert sorted(pairs) == [("s1", "r2"), ("s2", "r3"), ("s3", "r1")]


@pytest.mark.parametrize("seed", range(12))
def test_assignments_are_as_even_as_conflicts_allow(seed: int) -> None:
    dice = random.Random(seed)
    submissions = [f"s{number}" for number in range(dice.randint(2, 6))]
    reviewers = [f"r{number}" for number in range(dice.randint(2, 4))]
    every = list(itertools.product(submissions, reviewers))
    forbidden = {pair for pair in every if dice.random() < 0.25}
    pairs, lacking = balanced(submissions, reviewers, forbidden, set(), 1)
    assert not set(pairs) & forbidden
    blocked = [one for one in submissions if all((one, who) in forbidden for who in reviewers)]
    assert sorted(lacking) == blocked
    free = [one for one in submissions if one not in blocked]
    assert sorted(one for one, _ in pairs) == free
    choices = [[who for who in reviewers if (one, who) not in forbidden] for one in free]
    best = min((max(Counter(way).values(), default=0) for way in itertools.product(*choices)), default=0)
    assert max(Counter(who for _, who in pairs).values(), default=0) == best


def test_what_was_assigned_counts_and_stays() -> None:
    pairs, lacking = balanced(["s1", "s2"], ["r1", "r2"], set(), {("s1", "r1")}, 1)
    assert (pairs, lacking) == ([("s2", "r2")], {})
    pairs, lacking = balanced(["s1"], ["r1"], set(), set(), 3)
    assert (pairs, lacking) == ([("s1", "r1")], {"s1": 2})


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_spreadsheet_takes_a_text_for_a_formula(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert harmless(f"x{text}") == f"x{text}"


def make_venue() -> Venue:
    return Venue(id="venue_1", chair_id="user_chair", name="X", deadline=utcnow(), submit_hash="")


def test_tokens_of_a_venue_differ_and_follow_from_its_key() -> None:
    venue, other = make_venue(), make_venue()
    tokens = [
        submit_token(venue.id, venue.key),
        link_token(venue, "link_1"),
        link_token(venue, "link_2"),
        reviewer_token(venue, "reviewer_1", 0),
        reviewer_token(venue, "reviewer_1", 1),
        link_token(other, "link_1"),
    ]
    assert len(set(tokens)) == len(tokens)
    assert all(len(token) == 22 for token in tokens), "128 bits each"
    assert link_token(venue, "link_1") == tokens[1]


def member(user_id: str) -> Member:
    user = User(id=user_id, email=f"{user_id}@x.example", name=user_id, password_hash="")
    return Member(user, frozenset({"read", "write", "run"}))


def test_who_may_do_what_in_a_venue() -> None:
    ids = {"venue_id": "venue_1", "chair_id": "user_chair"}
    now = utcnow()
    reviewer = VenueReviewer(id="reviewer_1", name="E", email="e@x", token_hash="", **ids)
    colleague = VenueReviewer(id="reviewer_2", name="F", email="f@x", token_hash="1", **ids)
    review = VenueReview(
        id="r", reviewer_id="reviewer_1", submission_id="s", link_id="l", version_digest="", **ids
    )
    submission = VenueSubmission(
        **{**ids, "id": "s", "author_id": "user_author", "number": 1, "paper_id": "P", "title": "T"},
        version_id="v",
        version_digest="",
        updated_at=now,
    )
    link = ShareLink(
        id="l", token_hash="", token_hint="", owner_id="venue_1", version_id="v", version_digest=""
    )
    people: dict[str, Principal] = {
        "chair": member("user_chair"),
        "author": member("user_author"),
        "stranger": member("user_x"),
        "reviewer": Referee(reviewer),
        "colleague": Referee(colleague),
        "visitor": Visitor(link, "x"),
    }
    see, read, change = Action.SEE, Action.OPEN, Action.CHANGE
    allowed = {
        name: {
            (kind, action.value)
            for kind, thing in (
                ("venue", make_venue()),
                ("submission", submission),
                ("reviewer", reviewer),
                ("review", review),
                ("link", link),
            )
            for action in (see, read, change)
            if allows(who, action, thing)
        }
        for name, who in people.items()
    }
    everything = {
        (kind, a) for kind in ("venue", "submission", "reviewer") for a in ("see", "open", "change")
    }
    assert allowed == {
        "chair": everything | {("review", "see")},
        "author": {("submission", "see"), ("submission", "change")},
        "stranger": set(),
        "reviewer": {("venue", "see"), ("reviewer", "see")}
        | {("review", a) for a in ("see", "open", "change")},
        "colleague": {("venue", "see")},
        "visitor": {("link", "see")},
    }
