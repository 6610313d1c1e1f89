"""Every service is killed again and again while it holds work: nothing accepted is lost, nothing twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kills import SERVICES, Killer, Traffic, settled
from stack_desk import StackDesk, eventually

pytestmark = pytest.mark.timeout(600)

RUNS = 200
KILLS = 3
"""Of each service, counting only those that hit a service holding work."""
SETTINGS = {
    "VITRINE_WORK_LEASE_SECONDS": "3",
    "VITRINE_WORK_REAP_SECONDS": "0.5",
    "VITRINE_WORK_RELAY_SECONDS": "0.5",
    # How often a run may be begun again is tested elsewhere; here nobody may fail by bad luck.
    "VITRINE_RUNNER_MAX_ATTEMPTS": "50",
    "VITRINE_TRAINER_MAX_ATTEMPTS": "50",
    "VITRINE_BUILDER_MAX_CLAIMS": "50",
    "VITRINE_TRAINER_LOOK_SECONDS": "0.5",
    "VITRINE_MONITOR_CATCH_UP_SECONDS": "5",
    "VITRINE_API_RUN_RATE": "1000000",
}


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """The folder in which the model itself leaves one file for each of its executions."""
    folder = tmp_path / "executions"
    folder.mkdir()
    folder.chmod(0o777)
    tmp_path.chmod(0o755)
    return folder


@pytest.fixture
def desk(tmp_path: Path, counted: Path) -> Iterator[StackDesk]:
    """A stack of this test alone."""
    desk = StackDesk(tmp_path / "stack", {**SETTINGS, "VITRINE_RUNNER_BINDS": f"{counted}:/executions:rw"})
    desk.folder.mkdir()
    try:
        yield desk.start()
    finally:
        desk.stop()


def test_kill_every_service_while_it_works(desk: StackDesk, counted: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"kills drawn with seed {seed}")
    chance = random.Random(seed)
    with Traffic(desk) as traffic:
        killer = Killer(desk, traffic)
        victims = [service for service in SERVICES for _ in range(KILLS)]
        chance.shuffle(victims)
        for victim in victims:
            while not killer.strike(victim, chance):
                pass
        traffic.allow_up_to(RUNS)
        eventually(lambda: len(traffic.accepted) >= RUNS, f"{RUNS} runs are accepted")
        accepted = traffic.finish()
    print(f"killed: {dict(killer.counted)}, and while idle: {dict(killer.missed)}")
    assert all(killer.counted[service] >= KILLS for service in SERVICES)
    assert len(set(accepted.values())) == len(accepted) >= RUNS

    left = eventually(lambda: settled(desk), "nothing is queued, active, unsent, unacknowledged or unscored")
    for index, run_id in accepted.items():
        run = left.runs[run_id]
        assert run["state"] == "succeeded", run
        assert [output["value"] for output in run["outputs"]] == [f'"{index}"'], run
    assert left.facts == Counter(dict.fromkeys(left.runs, 1)), "one terminal fact of each run"
    assert left.scored == set(left.runs), "each run is scored, once"
    assert left.dead == 0, "no message was given up"
    assert left.failed == [], "builds and trainings ended well"

    executed = Counter(file.name.partition("-")[0] for file in counted.iterdir())
    again = sum(executed.values()) - len(left.runs)
    print(f"{len(accepted)} runs accepted, {sum(executed.values())} executions, {again} of them again")
    assert {int(index) for index in executed} >= set(accepted)
