"""When the resolver is asked again: for news, with a wheel that was built; and what a failure names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.version import Version

from vitrine_builder.failures import BuildFailure, FailureReason, explain
from vitrine_builder.lock import LockedPackage, Target
from vitrine_builder.process import Bounds
from vitrine_builder.progress import Report, silent
from vitrine_builder.requirements import RequirementLine, Requirements, bare_list, parse_requirements
from vitrine_builder.resolve import Resolver, locate
from vitrine_builder.sdists import BuiltWheel
from vitrine_builder.simple_index import IndexFile, SimpleIndexes
from vitrine_builder.uv import Uv

A, B = ("sha256:" + letter * 64 for letter in "ab")
LOCKED = f"""
[[packages]]
name = "docopt"
version = "0.6.2"
wheels = [{{ url = "file:///built/docopt.whl", hashes = {{ sha256 = "{A[7:]}" }} }}]
"""
MESSAGES = Path(__file__).parent / "messages"


@dataclass(frozen=True)
class ScriptedUv(Uv):
    """Gives its answers one after the other: a recorded failure, or a lock."""

    answers: list[str] = field(default_factory=list)
    asked: list[Sequence[str]] = field(default_factory=list)

    async def pip(
        self,
        action: str,
        arguments: Sequence[str],
        requirements: str,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> str:
        del action, requirements, on_line
        self.asked.append(arguments)
        answer = self.answers.pop(0)
        if "packages" in answer:
            return answer
        raise explain((MESSAGES / f"{answer}.txt").read_text())


@dataclass
class Builders:
    """Has a wheel of whatever is asked for."""

    asked: list[tuple[str, RequirementLine | None]] = field(default_factory=list)
    failure: BuildFailure | None = None
    there: set[str | None] = field(default_factory=lambda: {B})

    async def wheel(self, culprit: str, line: RequirementLine | None, report: Report = silent) -> BuiltWheel:
        del report
        self.asked.append((culprit, line))
        if self.failure:
            raise self.failure
        return BuiltWheel("docopt", "0.6.2", A, B, Path("/built/docopt.whl"))

    def has(self, package: LockedPackage) -> bool:
        return package.source in self.there


@dataclass(frozen=True)
class Listed(SimpleIndexes):
    """An index that has six versions."""

    async def files(self, name: str) -> list[IndexFile]:
        if name == "away":
            raise BuildFailure(FailureReason.INDEX_UNREACHABLE, "away")
        return [
            IndexFile(name, Version(f"1.{n}"), f"{name}-1.{n}.tar.gz", "file:///x") for n in range(9, 3, -1)
        ]


def scripted(tmp_path: Path, *answers: str, config: bool = False) -> ScriptedUv:
    place = tmp_path / "uv.toml"
    place.write_text("")
    return ScriptedUv(
        tmp_path,
        Path("python"),
        Target(),
        {},
        Bounds(1),
        config=place if config else None,
        answers=[*answers],
    )


async def failed(resolver: Resolver, requirements: Requirements) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        await resolver.resolve(requirements)
    return caught.value


async def test_a_wheel_that_is_missing_is_built_and_offered(tmp_path: Path) -> None:
    uv, builders = scripted(tmp_path, "sdist-pinned", LOCKED), Builders()
    resolver = Resolver(uv, tmp_path / "kept", 60, sources=builders)
    lock = await resolver.resolve(parse_requirements(b"docopt==0.6.2"))
    assert lock.packages == (LockedPackage("docopt", "0.6.2", (A, B), None, B),)
    assert builders.asked == [("docopt==0.6.2", RequirementLine(1, "docopt", "docopt==0.6.2"))]
    assert "/built" in uv.asked[1]
    assert await resolver.resolve(parse_requirements(b"docopt==0.6.2")) == lock


async def test_a_wheel_that_was_swept_is_built_again(tmp_path: Path) -> None:
    uv, builders = scripted(tmp_path, "sdist-pinned", LOCKED, "sdist-pinned", LOCKED), Builders()
    resolver = Resolver(uv, tmp_path / "kept", 60, sources=builders)
    await resolver.resolve(parse_requirements(b"docopt==0.6.2"))
    builders.there.clear()
    await resolver.resolve(parse_requirements(b"docopt==0.6.2"))
    assert len(builders.asked) == 2


async def test_a_source_that_was_named_by_its_hash_is_taken(tmp_path: Path) -> None:
    resolver = Resolver(scripted(tmp_path, "sdist-only", LOCKED), tmp_path / "k", 60, sources=Builders())
    lock = await resolver.resolve(parse_requirements(f"docopt --hash={B}".encode()))
    assert lock.packages[0].hashes == (A, B)


async def test_a_wheel_is_built_once_however_often_it_is_missing(tmp_path: Path) -> None:
    uv, builders = scripted(tmp_path, "sdist-only", "sdist-only"), Builders()
    failure = await failed(Resolver(uv, tmp_path / "k", 60, sources=builders), parse_requirements(b"docopt"))
    assert failure.reason is FailureReason.NO_WHEEL
    assert len(builders.asked) == 1


async def test_a_build_that_fails_names_the_line(tmp_path: Path) -> None:
    builders = Builders(failure=BuildFailure(FailureReason.SOURCE_BUILD, "It cannot be.", "docopt==0.6.2"))
    resolver = Resolver(scripted(tmp_path, "sdist-only"), tmp_path / "k", 60, sources=builders)
    failure = await failed(resolver, parse_requirements(b"six\ndocopt", "needs.txt"))
    assert failure.sentence == "needs.txt line 2: It cannot be."


async def test_what_is_not_there_is_looked_for_among_news_once(tmp_path: Path) -> None:
    uv = scripted(tmp_path, "no-such-version", LOCKED, config=True)
    await Resolver(uv, tmp_path / "kept", 60).resolve(parse_requirements(b"docopt"))
    assert ["--refresh" in arguments for arguments in uv.asked] == [False, True]
    uv = scripted(tmp_path, "no-such-version", "no-such-version", config=True)
    assert (await failed(Resolver(uv, tmp_path / "k", 60), parse_requirements(b"a"))).culprit == "six==99.1"


async def test_a_refresh_believes_nothing_that_is_remembered(tmp_path: Path) -> None:
    uv = scripted(tmp_path, LOCKED, LOCKED)
    resolver = Resolver(uv, tmp_path / "kept", 60)
    for refresh in (False, True, False):
        await resolver.resolve(parse_requirements(b"docopt"), refresh=refresh)
    assert ["--refresh" in arguments for arguments in uv.asked] == [False, True]


async def test_a_lock_of_its_own_is_taken_without_what_it_depends_on(tmp_path: Path) -> None:
    uv = scripted(tmp_path, LOCKED)
    exact = Requirements(parse_requirements(b"docopt").lines, "uv.lock", exact=True)
    await Resolver(uv, tmp_path / "kept", 60).resolve(exact)
    assert "--no-deps" in uv.asked[0]


async def test_the_versions_that_exist_are_told(tmp_path: Path) -> None:
    resolver = Resolver(scripted(tmp_path, "no-such-version"), tmp_path / "k", 60, indexes=Listed([], {}))
    failure = await failed(resolver, parse_requirements(b"\nsix==99.1", "needs.txt"))
    assert failure.sentence == (
        "needs.txt line 2: There is no version `six==99.1`; the index has 1.9, 1.8, 1.7, 1.6, 1.5 …."
    )


@pytest.mark.parametrize(
    ("message", "text", "line"),
    [
        ("conflict", "\nrequests==2.31.0\nidna==2.0", 3),
        ("conflict", "requests==2.31.0", 1),
        ("contradiction", "numpy==2.4.6\nnumpy<2", 1),
        ("conflict-with-marker", "\npandas==2.2.0\n", 2),
        ("other-python", "six\ntensorflow==2.3.0", 2),
        ("no-such-package", "six\nno-such-package-vitrine", 2),
    ],
)
def test_a_failure_names_the_line_of_a_party(message: str, text: str, line: int) -> None:
    failure = explain((MESSAGES / f"{message}.txt").read_text())
    located = locate(failure, parse_requirements(text.encode(), "needs.txt"))
    assert located.sentence == f"needs.txt line {line}: {failure.sentence}"
    assert (located.reason, located.culprit) == (failure.reason, failure.culprit)


def test_an_entry_of_a_list_is_counted_and_not_called_a_line() -> None:
    failure = BuildFailure(FailureReason.NO_WHEEL, "No.", "six==1")
    located = locate(failure, bare_list(["idna", "six==1"], "package.requirements"))
    assert located.sentence == "package.requirements entry 2: No."


def test_a_failure_of_nobody_in_the_file_stays_as_it_is() -> None:
    failure = BuildFailure(FailureReason.INDEX_UNREACHABLE, "Away.")
    assert locate(failure, parse_requirements(b"six")) is failure
