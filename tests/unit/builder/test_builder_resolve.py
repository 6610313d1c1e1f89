"""Locks and digests, and how long a resolution is remembered. The resolver's words are recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.lock import Lock, LockedPackage, Target, environment_digest, layer_digest
from vitrine_builder.process import Bounds
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.resolve import Resolver
from vitrine_builder.uv import Uv

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
PYLOCK = f"""
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "websockets"
version = "17.4"
wheels = [
    {{ url = "https://index.example/ws-17.4-cp311.whl", size = 70, hashes = {{ sha256 = "{B[7:]}" }} }},
    {{ url = "https://index.example/ws-17.4-py3.whl", size = 60, hashes = {{ sha256 = "{A[7:]}" }} }},
]

[[packages]]
name = "idna"
version = "3.20"
wheels = [{{ url = "file:///wheels/idna-3.20-py3.whl", hashes = {{ sha256 = "{C[7:]}" }} }}]
"""
LOCK = Lock((LockedPackage("idna", "3.20", (C,)), LockedPackage("websockets", "17.4", (A, B), 70)))


@dataclass(frozen=True)
class RecordedUv(Uv):
    """Answers as uv did, and counts the questions."""

    asked: list[str] = field(default_factory=list)
    answer: str = PYLOCK

    async def pip(
        self,
        action: str,
        arguments: Sequence[str],
        requirements: str,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> str:
        assert action == "compile"
        assert "--generate-hashes" in arguments
        on_line("Resolved 2 packages in 3ms")
        self.asked.append(requirements)
        return self.answer


def recorded(path: Path, answer: str = PYLOCK, **environment: str) -> RecordedUv:
    return RecordedUv(path, Path("python"), Target(), environment, Bounds(1), answer=answer)


async def test_a_lock_has_names_versions_hashes_and_no_address(tmp_path: Path) -> None:
    lock = await Resolver(recorded(tmp_path), tmp_path, 60).resolve(parse_requirements(b"websockets\nidna\n"))
    assert lock == LOCK
    assert lock.text == f"idna==3.20 --hash={C}\nwebsockets==17.4 --hash={A} --hash={B}\n"


async def test_equal_requirements_are_resolved_once_while_they_are_fresh(tmp_path: Path) -> None:
    uv = recorded(tmp_path)
    resolver = Resolver(uv, tmp_path / "kept", 60)
    first = await resolver.resolve(parse_requirements(b"idna # one\nwebsockets\n"))
    again = await resolver.resolve(parse_requirements(b"websockets\nidna\n"))
    assert first == again
    assert again.packages[1].size == 70
    assert len(uv.asked) == 1
    await resolver.resolve(parse_requirements(b"websockets\n"))
    assert len(uv.asked) == 2
    await dataclasses.replace(resolver, max_age=0).resolve(parse_requirements(b"websockets\n"))
    assert len(uv.asked) == 3


async def test_another_index_is_asked_again(tmp_path: Path) -> None:
    requirements = parse_requirements(b"websockets\n")
    for index in ("https://a.example", "https://b.example"):
        uv = recorded(tmp_path, UV_DEFAULT_INDEX=index)
        await Resolver(uv, tmp_path / "kept", 60).resolve(requirements)
        assert len(uv.asked) == 1


async def test_a_resolution_cut_short_is_made_again(tmp_path: Path) -> None:
    uv = recorded(tmp_path)
    resolver = Resolver(uv, tmp_path / "kept", 60)
    await resolver.resolve(parse_requirements(b"idna\n"))
    for kept in (tmp_path / "kept").iterdir():
        kept.write_text(kept.read_text()[:40])
    assert await resolver.resolve(parse_requirements(b"idna\n")) == LOCK
    assert len(uv.asked) == 2


async def test_no_requirements_need_no_resolver(tmp_path: Path) -> None:
    uv = recorded(tmp_path)
    assert (await Resolver(uv, tmp_path, 60).resolve(parse_requirements(b""))).packages == ()
    assert uv.asked == []


async def test_hashes_in_the_requirements_narrow_the_lock(tmp_path: Path) -> None:
    resolver = Resolver(recorded(tmp_path), tmp_path, 60)
    lock = await resolver.resolve(parse_requirements(f"websockets --hash={B}".encode()))
    assert lock.packages[1].hashes == (B,)
    with pytest.raises(BuildFailure) as caught:
        await resolver.resolve(parse_requirements(f"\nwebsockets --hash={C}".encode(), "needs.txt"))
    assert caught.value.reason is FailureReason.HASH_MISMATCH
    assert "needs.txt line 2" in caught.value.sentence
    assert f"--hash={A}" in caught.value.sentence


async def test_an_answer_of_another_form_is_internal(tmp_path: Path) -> None:
    with pytest.raises(BuildFailure) as caught:
        await Resolver(recorded(tmp_path, "[["), tmp_path, 60).resolve(parse_requirements(b"six"))
    assert caught.value.reason is FailureReason.INTERNAL


def test_digests_name_what_matters_and_nothing_else() -> None:
    reordered = Lock(tuple(dataclasses.replace(package, size=None) for package in reversed(LOCK.packages)))
    assert environment_digest(reordered, Target()) == environment_digest(LOCK, Target())
    assert Lock.from_json(LOCK.to_json()) == LOCK
    different = {
        environment_digest(LOCK, Target()),
        environment_digest(LOCK, Target(platform="aarch64-manylinux_2_28")),
        environment_digest(LOCK, Target(python="3.12")),
        environment_digest(Lock(LOCK.packages[:1]), Target()),
        layer_digest(LOCK.packages[0], Target()),
        layer_digest(LOCK.packages[1], Target()),
        layer_digest(LOCK.packages[0], Target(python="3.12")),
    }
    assert len(different) == 7
