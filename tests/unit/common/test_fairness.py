"""Whose turn it is: laws that hold for whatever waits and works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitrine_common.fairness import Begun, Flow, Waiting, serving_order

FLOWS = st.builds(Flow, st.sampled_from("abc"), st.sampled_from("lmn"), st.sampled_from("vw"))
TIMES = st.integers(0, 50).map(float)

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine that does something else makes no example wrong."""


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting]:
    flows = draw(st.lists(st.tuples(FLOWS, TIMES), max_size=25))
    return [Waiting(f"run_{number:02}", flow, since) for number, (flow, since) in enumerate(flows)]


PASTS = st.lists(st.builds(Begun, FLOWS, TIMES, st.booleans()), max_size=12)


def flow(text: str) -> Flow:
    return Flow.of_key(text)


def wait(name: str, key: str, since: float) -> Waiting:
    return Waiting(name, flow(key), since)


def ids(waiting: Sequence[Waiting], begun: Sequence[Begun] = ()) -> list[str]:
    return [one.id for one in serving_order(waiting, begun)]


@UNHURRIED
@given(queues(), PASTS)
def test_everybody_is_served_once_and_the_oldest_of_a_flow_first(
    waiting: list[Waiting], begun: list[Begun]
) -> None:
    order = list(serving_order(waiting, begun))
    assert sorted(order, key=lambda one: one.id) == sorted(waiting, key=lambda one: one.id)
    for key in {one.flow for one in waiting}:
        own = [(one.since, one.id) for one in order if one.flow == key]
        assert own == sorted(own)


@UNHURRIED
@given(queues(), PASTS)
def test_the_oldest_of_each_flow_tell_who_is_first(waiting: list[Waiting], begun: list[Begun]) -> None:
    heads: dict[Flow, Waiting] = {}
    for one in sorted(waiting, key=lambda one: (one.since, one.id)):
        heads.setdefault(one.flow, one)
    assert next(serving_order(heads.values(), begun), None) == next(serving_order(waiting, begun), None)


@UNHURRIED
@given(queues(), PASTS)
def test_neither_the_order_of_what_is_read_nor_of_the_past_matters(
    waiting: list[Waiting], begun: list[Begun]
) -> None:
    past = {one.at: one for one in begun}.values()
    assert ids(waiting, list(past)) == ids(waiting[::-1], list(past)[::-1])


@UNHURRIED
@given(queues(), st.integers(1, 4))
def test_serving_one_after_the_other_follows_the_order_that_was_told(
    waiting: list[Waiting], places: int
) -> None:
    told = ids(waiting)
    begun: list[Begun] = []
    served: list[str] = []
    clock = 100.0
    while waiting:
        if sum(one.active for one in begun) == places:
            ended = next(number for number, one in enumerate(begun) if one.active)
            begun[ended] = Begun(begun[ended].flow, begun[ended].at, active=False)
            if len(served) == places:
                told = [*served, *ids(waiting, [*begun[:ended], _active(begun[ended]), *begun[ended + 1 :]])]
        chosen = next(serving_order(waiting, begun))
        clock += 1
        waiting = [one for one in waiting if one != chosen]
        begun.append(Begun(chosen.flow, clock, active=True))
        served.append(chosen.id)
    if len(served) > places:
        assert served == told


def _active(one: Begun) -> Begun:
    return Begun(one.flow, one.at, active=True)


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from("lmn"), st.sampled_from("vw")), min_size=1, max_size=40))
def test_an_owner_with_many_runs_gets_no_more_than_its_share(of_the_busy: list[tuple[str, str]]) -> None:
    busy = [
        Waiting(f"a{number:02}", Flow("a", lane, version), float(number))
        for number, (lane, version) in enumerate(of_the_busy)
    ]
    other = [wait(f"b{number}", "b/l/v", 1000.0 + number) for number in range(3)]
    order = ids([*busy, *other])
    for length in range(1, len(order) + 1):
        counts = Counter(name[0] for name in order[:length])
        if counts["b"] < len(other):
            assert counts["a"] - counts["b"] <= 1, order


def test_a_single_run_is_next_though_another_link_posted_five_hundred() -> None:
    flood = [wait(f"a{number:03}", "owner/flood/v", number) for number in range(500)]
    working = [Begun(flow("owner/flood/v"), at, active=True) for at in (1.0, 2.0)]
    assert ids([*flood, wait("single", "owner/other/v", 9000.0)], working)[0] == "single"


def test_with_one_place_it_is_a_round_robin_through_every_level() -> None:
    waiting = [
        wait("a1", "a/l/v", 1), wait("a2", "a/l/w", 2), wait("a3", "a/l/v", 3), wait("a4", "a/m/v", 4),
        wait("b1", "b/l/v", 5), wait("b2", "b/l/v", 6),
    ]  # fmt: skip
    assert ids(waiting) == ["a1", "b1", "a4", "b2", "a2", "a3"]


def test_who_holds_more_places_waits_and_who_was_served_lately_comes_later() -> None:
    waiting = [wait("a", "a/l/v", 1), wait("b", "b/l/v", 2), wait("c", "c/l/v", 3)]
    begun = [
        Begun(flow("a/l/v"), 10.0, active=True),
        Begun(flow("b/l/v"), 20.0, active=False),
        Begun(flow("c/m/w"), 15.0, active=False),
    ]
    assert next(serving_order(waiting, begun)).id == "c"


def test_a_flow_is_read_back_from_its_key() -> None:
    assert Flow.of_key(Flow("o", "", "v").key) == Flow("o", "", "v")
