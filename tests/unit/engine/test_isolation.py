"""What an operator reads where no sandbox starts."""

from __future__ import annotations

import pytest

from vitrine_engine.process.isolation import way_out


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths=unconfined"),
        ("bwrap: No permissions to create new namespace, likely because", "seccomp-sandbox.json"),
        ("bwrap: unshare user ns: Operation not permitted", "user.max_user_namespaces"),
        ("bwrap: Failed to make / slave: Permission denied", "apparmor:unconfined"),
        ("bwrap: pivot_root: Operation not permitted", "seccomp-sandbox.json"),
    ],
)
def test_a_launcher_that_may_not_says_what_to_allow(said: str, advice: str) -> None:
    assert advice in way_out(f"sandbox probe-1 could not be started: {said}")


def test_what_nobody_knows_gets_no_advice() -> None:
    assert way_out("sandbox probe-1 could not be started: it did not answer") == ""
