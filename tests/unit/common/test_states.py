"""The tables: every state is reached, every active state can be left for the queue, ends are ends."""

from __future__ import annotations

from typing import Any

import pytest

from vitrine_common.states import (
    BUILD,
    RETRIED,
    RUN,
    TRIAL,
    VERSION,
    Reason,
    RunState,
    StateMachine,
    TrialState,
)

MACHINES = [VERSION, BUILD, RUN, TRIAL]


def every(machine: StateMachine[Any]) -> set[Any]:
    return set(type(machine.initial).__members__.values())


by_name = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


@by_name
def test_the_table_covers_every_state(machine: StateMachine[Any]) -> None:
    assert set(machine.transitions) == every(machine)


@by_name
def test_every_state_is_reached_from_the_initial_one(machine: StateMachine[Any]) -> None:
    reached: set[Any] = {machine.initial}
    frontier: list[Any] = [machine.initial]
    while frontier:
        for target in machine.transitions[frontier.pop()] - reached:
            reached.add(target)
            frontier.append(target)
    assert reached == every(machine)


@by_name
def test_an_end_is_reached_from_everywhere(machine: StateMachine[Any]) -> None:
    ends: set[Any] = set(machine.final)
    while grown := {s for s, targets in machine.transitions.items() if targets & ends} - ends:
        ends |= grown
    assert ends == every(machine)


@by_name
def test_work_that_dies_can_be_begun_again(machine: StateMachine[Any]) -> None:
    waiting: set[Any] = every(machine) - machine.active - set(machine.final)
    for state in machine.active:
        assert machine.transitions[state] & waiting, f"{state} could never be retried"


def test_sources_are_the_table_read_backwards() -> None:
    assert RUN.sources(RunState.SAVING) == [RunState.RUNNING]
    assert TRIAL.sources(TrialState.PREPARING) == [TrialState.QUEUED, TrialState.RUNNING]
    assert RUN.final == [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.EXPIRED]


def test_only_the_platforms_own_failures_are_retried() -> None:
    assert frozenset({Reason.PLATFORM_ERROR}) == RETRIED
