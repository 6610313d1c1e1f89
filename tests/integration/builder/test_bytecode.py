"""Bytecode follows an environment: it works without, and gets all of it, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builder_desk import Desk
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.completion import MARKER, is_complete
from vitrine_builder.materialise import Materialised
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import open_workspace
from vitrine_common.states import BuildState

SITE = "lib/python3.11/site-packages"
ONE = b"charset-normalizer==3.4.4\nmarkdown-it-py==4.0.0\n"
MORE = ONE + b"six==1.17.0\n"


@contextlib.asynccontextmanager
async def builder(root: Path) -> AsyncIterator[Parts]:
    """Give a builder on `root`, which others may share."""
    settings = BuilderSettings(images="never")
    with open_workspace(root) as workspace:
        sandboxes = BuildSandboxes(workspace.drafts / "sandboxes", settings.build_limits)
        try:
            yield await open_parts(settings, workspace, sandboxes)
        finally:
            await sandboxes.aclose()


async def make(parts: Parts, requirements: bytes) -> Materialised:
    lock = await parts.resolver.resolve(parse_requirements(requirements))
    return await parts.store.materialise(lock)


def without_bytecode(environment: Path) -> set[str]:
    """Return the modules that have no bytecode, tests of packages left out."""
    return {
        str(source.relative_to(environment))
        for source in (environment / SITE).rglob("*.py")
        if not {"test", "tests"}.intersection(source.relative_to(environment).parts)
        and not (source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc").exists()
    }


def bytecode(environment: Path) -> dict[str, int]:
    return {
        str(file.relative_to(environment)): file.stat().st_ino for file in (environment / SITE).rglob("*.pyc")
    }


@contextlib.asynccontextmanager
async def completing(*builders: Parts) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(parts.store.completer.run()) for parts in builders]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_complete(*environments: Path) -> None:
    async with asyncio.timeout(120):
        while not all(map(is_complete, environments)):
            await asyncio.sleep(0.02)


async def test_an_environment_is_there_before_its_bytecode_and_gets_all_of_it(tmp_path: Path) -> None:
    async with builder(tmp_path) as parts:
        made = await make(parts, ONE)
        sources = {path: path.stat().st_ino for path in made.path.rglob("*") if path.is_file()}
        assert bytecode(made.path) == {}
        assert not is_complete(made.path)
        async with completing(parts):
            await until_complete(made.path)
        assert without_bytecode(made.path) == set()
        assert json.loads((made.path / MARKER).read_text()) == {"uncompiled": 0, "without": 0}
        assert all(path.stat().st_ino == inode for path, inode in sources.items()), "something was replaced"
        assert await parts.store.completer.complete(made.path) is False
        assert not list(parts.store.workspace.drafts.glob("draft_*/bytecode.json"))


async def test_bytecode_waits_while_a_build_goes_on_and_is_shared(tmp_path: Path) -> None:
    async with builder(tmp_path) as parts, completing(parts):
        async with parts.store.ahead(""):
            first = await make(parts, ONE)
            second = await make(parts, MORE)
            await asyncio.sleep(0.3)
            assert bytecode(first.path) == bytecode(second.path) == {}
        await until_complete(first.path, second.path)
        assert without_bytecode(second.path) == set()
        shared = bytecode(first.path)
        assert shared.items() <= bytecode(second.path).items(), "each is compiled once"


async def test_two_builders_compile_once(tmp_path: Path) -> None:
    async with builder(tmp_path) as one, builder(tmp_path) as two:
        made = await make(one, ONE)
        answers = await asyncio.gather(
            one.store.completer.complete(made.path), two.store.completer.complete(made.path)
        )
        assert sorted(answers) == [False, True]
        assert without_bytecode(made.path) == set()


async def test_what_goes_wrong_with_bytecode_leaves_the_environment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with builder(tmp_path) as parts:
        made = await make(parts, b"six==1.17.0\n")
        await asyncio.to_thread(os.rename, made.path, tmp_path / "elsewhere")
        with pytest.raises(FileNotFoundError):
            await parts.store.completer.complete(made.path)
        assert not made.path.exists()
        again = await make(parts, b"six==1.17.0\n")
        async with completing(parts):
            await until_complete(again.path)
    assert "bytecode failed" not in caplog.text


async def test_bytecode_that_a_killed_builder_began_is_ended_by_another(desk: Desk) -> None:
    await desk.stop()
    doomed = await desk.start()
    build = await desk.end(await desk.request("pygments==2.19.2\n"))
    doomed.kill()
    doomed.wait()
    assert build.state is BuildState.SUCCEEDED, build.problem
    assert build.step == "bytecode"
    environment = desk.path(build)
    assert not is_complete(environment), "killed too late"
    assert without_bytecode(environment)
    await desk.start()
    await until_complete(environment)
    assert without_bytecode(environment) == set()
    build = await desk.until(build.id, lambda build: build.step == "done")
    assert build.timings_ms["bytecode"] > 0
    await desk.stop()
