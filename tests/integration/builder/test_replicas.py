"""Environments on hosts that do not see the builder's disk: fetched by digest, shared, removed again."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from builder_desk import Desk
from builder_stores import Catalogue, left_behind, make_catalogue
from system_base import lend_base, write_index, write_package
from vitrine_builder.system import Base
from vitrine_common.blobs import BlobStore
from vitrine_common.documents import Build, Environment, PackedPart
from vitrine_common.environments import system_root
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.replicas import AREA, Replica, ReplicaFetcher
from vitrine_common.settings import S3Settings
from vitrine_common.shelf import EnvironmentGone, Shelf
from vitrine_common.usage import environment_use, use_table

pytestmark = pytest.mark.timeout(180)
PLENTY = 1 << 40


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return make_catalogue(tmp_path_factory.mktemp("catalogue"), 6, modules=4, size=20_000)


@pytest.fixture
async def builder(desk: Desk, catalogue: Catalogue) -> Desk:
    desk.environment["UV_DEFAULT_INDEX"] = catalogue.index
    if not desk.processes:
        await desk.start()
    return desk


def settings_of(desk: Desk) -> S3Settings:
    return S3Settings(
        endpoint=desk.environment["VITRINE_S3_ENDPOINT"],
        access_key=desk.environment["VITRINE_S3_ACCESS_KEY"],
        secret_key=SecretStr(desk.environment["VITRINE_S3_SECRET_KEY"]),
        bucket=desk.environment["VITRINE_S3_BUCKET"],
    )


@contextlib.asynccontextmanager
async def elsewhere(desk: Desk, folder: Path, limit: int = PLENTY) -> AsyncIterator[Shelf]:
    """Give the environments of a host that has a folder of its own."""
    fetcher = ReplicaFetcher(folder, desk.database, BlobStore(settings_of(desk), AREA), limit)
    assert fetcher.open()
    try:
        yield Shelf(folder, desk.bus, desk.database, fetcher)
    finally:
        await fetcher.aclose()


async def built(desk: Desk, catalogue: Catalogue, *names: str) -> str:
    """Return the digest of an environment that has its bytecode."""
    build = await desk.end(await desk.request(catalogue.text(names).decode()))
    assert build.environment_digest is not None, build.problem
    await desk.until(build.id, lambda found: found.step == "done")
    return build.environment_digest


def contents(environment: Path) -> dict[str, tuple[str, bytes | str]]:
    """Everything in a folder: its kind and mode, and its bytes or where it points."""
    found: dict[str, tuple[str, bytes | str]] = {}
    for path in environment.rglob("*"):
        name = str(path.relative_to(environment))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            found[name] = (oct(path.stat().st_mode), path.read_bytes())
        else:
            found[name] = ("folder", "")
    return found


async def test_an_environment_is_fetched_equal_to_the_last_byte(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    digest = await built(builder, catalogue, "part0", "part1", "part2")
    name = digest.removeprefix("sha256:")
    async with elsewhere(builder, tmp_path / "host") as shelf, shelf.held(digest) as environment:
        assert environment == tmp_path / "host" / name
        assert contents(environment) == contents(builder.environments / name)
        (module,) = environment.glob("lib/*/site-packages/part0/m0.py")
        layers = tmp_path / "host/.builder/layers"
        (kept,) = layers.glob("*/tree/lib/*/site-packages/part0/m0.py")
        assert kept.stat().st_ino == module.stat().st_ino
        assert any(path.suffix == ".pyc" for path in environment.rglob("*"))
    assert left_behind(tmp_path / "host") == []


async def test_layers_are_fetched_once_for_everybody_on_a_host(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    first = await built(builder, catalogue, "part0", "part1", "part3")
    second = await built(builder, catalogue, "part0", "part1", "part4")
    host = tmp_path / "host"

    async def use(shelf: Shelf, digest: str, *names: str) -> list[str]:
        async with shelf.held(digest) as environment:
            return catalogue.missing(environment, names)

    async with elsewhere(builder, host) as one, elsewhere(builder, host) as two:
        faults = await asyncio.gather(
            *(use(shelf, first, "part0", "part1", "part3") for shelf in (one, two, one)),
            *(use(shelf, second, "part0", "part1", "part4") for shelf in (one, two, two)),
        )
    assert not any(faults)
    made = [json.loads(path.read_text())["package"] for path in host.glob(".builder/layers/*/layer.json")]
    assert len(made) == len(set(made)) == 4
    assert left_behind(host) == []


async def test_layers_are_packed_once_and_only_for_other_hosts(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    await builder.database.collection(PackedPart)._raw.delete_many({})
    digest = await built(builder, catalogue, "part0", "part5")
    environments = builder.database.collection(Environment)
    shutil.rmtree(builder.environments / digest.removeprefix("sha256:"))
    async with Shelf(builder.environments, builder.bus, builder.database).held(digest):
        assert (await environments.get(digest)).replica_digest is None
    async with elsewhere(builder, tmp_path / "one") as shelf, shelf.held(digest):
        packed = {part.id: part for part in await builder.database.collection(PackedPart).find({})}
    # What one host had packed, the next one fetches without a builder.
    builds = await builder.database.collection(Build).count({})
    async with elsewhere(builder, tmp_path / "two") as shelf, shelf.held(digest) as environment:
        assert catalogue.missing(environment, ("part0", "part5")) == []
    assert await builder.database.collection(Build).count({}) == builds
    again = {part.id: part for part in await builder.database.collection(PackedPart).find({})}
    assert {name: part.digest for name, part in again.items()} == {
        name: part.digest for name, part in packed.items()
    }


async def test_what_is_gone_from_the_store_is_packed_again(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    digest = await built(builder, catalogue, "part1", "part5")
    archives = BlobStore(settings_of(builder), AREA)
    async with elsewhere(builder, tmp_path / "one") as shelf, shelf.held(digest):
        document = await builder.database.collection(Environment).get(digest)
        replica = Replica.model_validate_json(
            await archives.get_bytes(document.replica_digest or "", 1 << 20)
        )
    for part in replica.layers:
        assert part.bytecode is not None
        await archives.delete(part.archive.digest)
        await archives.delete(part.bytecode.archive.digest)
    await archives.aclose()
    async with elsewhere(builder, tmp_path / "two") as shelf, shelf.held(digest) as environment:
        assert catalogue.missing(environment, ("part1", "part5")) == []


async def test_a_damaged_archive_is_refused_and_leaves_nothing(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    digest = await built(builder, catalogue, "part2", "part5")
    archives = BlobStore(settings_of(builder), AREA)
    async with elsewhere(builder, tmp_path / "one") as shelf, shelf.held(digest):
        document = await builder.database.collection(Environment).get(digest)
        replica = Replica.model_validate_json(
            await archives.get_bytes(document.replica_digest or "", 1 << 20)
        )
    victim = replica.layers[0].archive
    client, key = archives._client, f"{AREA}sha256/{victim.digest[7:9]}/{victim.digest[9:]}"
    client.put_object(archives._bucket, key, io.BytesIO(bytes(victim.size)), victim.size)
    host = tmp_path / "two"
    async with elsewhere(builder, host) as shelf:
        with pytest.raises(EnvironmentGone, match="came damaged out of the object store"):
            async with shelf.held(digest):
                pass
    assert not (host / digest.removeprefix("sha256:")).exists()
    assert not (host / ".builder/layers" / replica.layers[0].name).exists()
    assert left_behind(host) == []
    await archives.delete(victim.digest)
    await archives.aclose()


async def test_a_host_keeps_below_its_limit_and_removes_nothing_in_use(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    chosen = [("part0",), ("part1",), ("part2",), ("part3",)]
    digests = [await built(builder, catalogue, *names) for names in chosen]
    host = tmp_path / "host"
    async with elsewhere(builder, host, limit=1) as shelf, shelf.held(digests[0]) as first:
        for digest in digests[1:]:
            async with shelf.held(digest):
                pass
        assert catalogue.missing(first, chosen[0]) == []
        present = {path.name for path in host.iterdir()} - {".builder"}
        # The one in use, and the one that came last.
        assert present == {digests[0][7:], digests[3][7:]}
        assert len(list((host / ".builder/layers").iterdir())) == 2
    with use_table(host).claims() as claims:
        assert claims.take(environment_use(digests[0]))


KILLED = """
import asyncio, os, sys
from pathlib import Path
from vitrine_common.replicas import fetching

def die(*_):
    os.kill(os.getpid(), 9)

setattr(*{"unpack": (fetching, "unpack", die), "link": (fetching, "_link_all", die)}[sys.argv[1]])
from vitrine_common.service import make_platform
from vitrine_common.shelf import open_shelf

async def main():
    platform = make_platform("runner")
    await platform.bus.connect()
    async with open_shelf(platform) as shelf, shelf.held(sys.argv[2]):
        pass

asyncio.run(main())
"""


@pytest.mark.parametrize("step", ["unpack", "link"])
async def test_a_host_that_was_killed_at_it_begins_anew(
    builder: Desk, catalogue: Catalogue, tmp_path: Path, step: str
) -> None:
    digest = await built(builder, catalogue, "part3", "part4")
    host = tmp_path / "host"
    environment = {**builder.environment, "VITRINE_ENVIRONMENTS_DIR": str(host)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, step, digest), env=environment, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == -9, errors.decode()
    assert not (host / digest.removeprefix("sha256:")).exists()
    async with elsewhere(builder, host) as shelf, shelf.held(digest) as found:
        assert catalogue.missing(found, ("part3", "part4")) == []
    assert left_behind(host) == []


async def test_bytecode_that_comes_later_is_added(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    digest = await built(builder, catalogue, "part4", "part5")
    name = digest.removeprefix("sha256:")
    here = builder.environments / name
    host = tmp_path / "host"
    # As if the builder were still compiling when the first host asks.
    (here / "bytecode.json").unlink()
    async with elsewhere(builder, host) as shelf:
        async with shelf.held(digest) as environment:
            first = set(contents(environment))
        assert shelf.replicas is not None
        async with asyncio.timeout(120):
            while not (host / name / "bytecode.json").exists():
                await shelf.replicas.complete(digest)
                await asyncio.sleep(0.2)
        assert contents(host / name) == contents(here)
        assert first < set(contents(here))


async def test_where_hosts_ask_new_environments_are_packed_ahead(
    builder: Desk, catalogue: Catalogue, tmp_path: Path
) -> None:
    first = await built(builder, catalogue, "part1", "part2", "part5")
    async with elsewhere(builder, tmp_path / "host") as shelf, shelf.held(first):
        pass
    second = await built(builder, catalogue, "part1", "part2", "part4")
    environments = builder.database.collection(Environment)
    async with asyncio.timeout(60):
        while (await environments.get(second)).replica_digest is None:
            await asyncio.sleep(0.05)
    await builder.stop()
    # Nobody is there to pack anything.
    async with elsewhere(builder, tmp_path / "host") as shelf, shelf.held(second) as environment:
        assert catalogue.missing(environment, ("part1", "part2", "part4")) == []
        assert (environment / "bytecode.json").exists()


async def test_system_packages_come_with_their_root_file_system(
    builder: Desk, catalogue: Catalogue, system_base: Base, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    write_package(archive, "tool", "1.2", files={"usr/share/tool/words": "hello"})
    write_index(archive, system_base.release, system_base.architecture)
    lend_base(system_base, builder.environments)
    builder.environment |= {
        "VITRINE_BUILDER_APT_SOURCES": f"file:{archive} {system_base.release} main",
        "VITRINE_BUILDER_APT_UNSIGNED": "true",
    }
    await builder.stop()
    await builder.start()
    request = EnvironmentRequest(requirements=("part0",), requirements_name="x", system=("tool",))
    build = await builder.end(await builder.ask(request))
    assert build.environment_digest is not None, build.problem
    digest = build.environment_digest
    made = system_root(builder.environments, builder.path(build))
    assert made is not None
    host = tmp_path / "host"
    async with elsewhere(builder, host) as shelf, shelf.held(digest) as environment:
        root = system_root(host, environment)
        assert root is not None
        assert (root / "usr/share/tool/words").read_text() == "hello"
        assert contents(root) == contents(made)
        assert (root / "usr/share/tool").stat().st_mtime == 0
    async with elsewhere(builder, host, limit=1) as shelf:
        assert shelf.replicas is not None
        shelf.replicas._eviction.run()
    assert not root.exists()
