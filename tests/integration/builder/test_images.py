"""Real wheels become images: equal wherever and whenever they are made, and loaded by what is missing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from docker_daemon import DockerDaemon
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.failures import BuildFailure
from vitrine_builder.images.config import BaseImage, ImageLayer
from vitrine_builder.images.docker import REPOSITORY, Daemon
from vitrine_builder.images.work import Images, Planned, name_of
from vitrine_builder.lock import Lock
from vitrine_builder.materialise import Materialised
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import open_workspace

# A C extension with programs, one with a data folder, and plain modules.
FIRST = b"charset-normalizer==3.4.4\nmarkdown-it-py==4.0.0\npyyaml==6.0.3\n"
SECOND = FIRST + b"six==1.17.0\n"
BASE = BaseImage("sha256:" + "b" * 64, (ImageLayer("sha256:" + "b" * 64, 10, "base", reused=True),))


@contextlib.asynccontextmanager
async def builder(root: Path, daemon: DockerDaemon | None = None) -> AsyncIterator[Parts]:
    """Give a builder with empty caches below `root`."""
    settings = BuilderSettings()
    if daemon is not None:
        settings = BuilderSettings(images="docker", docker_url=daemon.url, base_image=daemon.base_image)
    with open_workspace(root) as workspace:
        sandboxes = BuildSandboxes(root / ".builder" / "sandboxes", settings.build_limits)
        try:
            parts = await open_parts(settings, workspace, sandboxes)
            if daemon is None:
                version = parts.store.layers.compiler_version
                images = Images(workspace, settings.target, version, BASE)
                object.__setattr__(parts.store, "images", images)
            yield parts
            if parts.store.images is not None and parts.store.images.daemon is not None:
                parts.store.images.daemon.close()
        finally:
            await sandboxes.aclose()


async def make(parts: Parts, requirements: bytes) -> tuple[Lock, Materialised]:
    lock = await parts.resolver.resolve(parse_requirements(requirements))
    return lock, await parts.store.materialise(lock)


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Return mode and digest of every file of an environment, but for the one that tells when it was made."""
    found = {}
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink() and file.name != "environment.json":
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            found[str(file.relative_to(root))] = (file.stat().st_mode & 0o7777, digest)
    return found


async def layers_of(parts: Parts, lock: Lock) -> list[bytes]:
    """Return the bytes of every layer above the base."""
    images = parts.store.images
    assert images is not None
    work = images.begin("sha256:x", lock, lambda _step: None)
    layers = [parts.store.layers.find(package) for package in lock.packages]
    work.plan([Planned(layer.package, layer.content) for layer in layers if layer])
    for layer in layers:
        assert layer is not None
        compiled = parts.store.completer.bytecode.find(layer)
        assert compiled is not None
        work.add(compiled)
    image = await work.complete()
    return [b"".join(each.chunks()) for each in image.layers if each.kind != "base"]


async def test_two_builders_make_the_same_bytes_from_one_lock(tmp_path: Path) -> None:
    async with builder(tmp_path / "here") as one, builder(tmp_path / "elsewhere" / "deeper") as two:
        lock, first = await make(one, FIRST)
        time.sleep(1.1)  # noqa: ASYNC251 - files that are made in another second
        os.utime(tmp_path)
        second = await two.store.materialise(lock)
        assert first.image is not None
        assert second.image is not None
        assert first.image.digest == second.image.digest
        assert [layer.diff_id for layer in first.image.layers] == [
            layer.diff_id for layer in second.image.layers
        ]
        assert await one.store.completer.complete(first.path)
        assert await two.store.completer.complete(second.path)
        here, there = tree(first.path), tree(second.path)
        assert any(name.endswith(".pyc") for name in here)
        assert "bin/normalizer" in here
        assert any(name.endswith(".so") for name in here)
        assert here == there
        assert await layers_of(one, lock) == await layers_of(two, lock)


async def test_one_package_more_leaves_every_other_layer_as_it_was(tmp_path: Path) -> None:
    async with builder(tmp_path) as parts:
        _, first = await make(parts, FIRST)
        _, second = await make(parts, SECOND)
        assert first.image is not None
        assert second.image is not None
        before = {layer.diff_id for layer in first.image.layers}
        new = [layer for layer in second.image.layers if layer.diff_id not in before]
        assert [name for layer in new for name in layer.packages if name.startswith("six==")] == [
            "six==1.17.0"
        ]
        assert len(new) == 1
        assert [layer.reused for layer in second.image.layers].count(False) == 1


async def test_a_daemon_gets_what_it_lacks_and_runs_it(tmp_path: Path, docker_daemon: DockerDaemon) -> None:
    client = docker_daemon.client()
    with contextlib.closing(client):
        async with builder(tmp_path, docker_daemon) as parts:
            _, first = await make(parts, FIRST)
            _, second = await make(parts, SECOND)
            again = parts.store.find((await make(parts, SECOND))[0])
            assert again is not None
            assert not again.made
        for made in (first, second):
            assert made.image is not None
            image = client.images.get(name_of(made.digest))
            assert image.id == made.image.digest
            assert image.attrs["RootFS"]["Layers"] == [layer.diff_id for layer in made.image.layers]
        assert client.images.list(filters={"label": "dev.vitrine.partial"}, all=True) == []
        said = client.containers.run(
            name_of(second.digest),
            ["/env/bin/python", "-c", "import six, yaml, sys; print(six.__cached__, yaml.__with_libyaml__)"],
            remove=True,
            network_mode="none",
        )
        assert said.decode().split() == [
            "/env/lib/python3.11/site-packages/__pycache__/six.cpython-311.pyc",
            "True",
        ]
        said = client.containers.run(name_of(second.digest), ["normalizer", "--version"], remove=True)
        assert b"3.4.4" in said
        for made in (first, second):
            client.images.remove(name_of(made.digest))


async def test_an_image_that_the_daemon_lost_is_sent_again(
    tmp_path: Path, docker_daemon: DockerDaemon
) -> None:
    with contextlib.closing(docker_daemon.client()) as client:
        async with builder(tmp_path, docker_daemon) as parts:
            lock, made = await make(parts, b"six==1.17.0\n")
            client.images.remove(name_of(made.digest))
            assert parts.store.find(lock) is None
            again = await parts.store.materialise(lock)
            assert again.image == made.image or again.image is not None
            assert client.images.get(name_of(made.digest)).id == made.image.digest  # type: ignore[union-attr]
            client.images.remove(name_of(made.digest))


class ContainerdClient:
    """A client of a daemon that keeps its images in containerd."""

    def __init__(self, **_settings: object) -> None:
        self.closed = False

    def info(self) -> dict[str, object]:
        return {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}

    def close(self) -> None:
        self.closed = True


async def test_a_daemon_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildFailure, match="Docker daemon does not answer"):
        Daemon(f"unix://{tmp_path}/nowhere.sock").inspect(f"{REPOSITORY}:x")


async def test_a_base_that_the_daemon_lacks_is_named(docker_daemon: DockerDaemon) -> None:
    daemon = Daemon(docker_daemon.url)
    with pytest.raises(BuildFailure, match="no image `nobody/has:this`"), contextlib.closing(daemon):
        daemon.base("nobody/has:this")


def test_a_containerd_store_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/sock")
        listening.listen()
        monkeypatch.setattr(docker, "APIClient", ContainerdClient)
        with pytest.raises(BuildFailure, match="VITRINE_BUILDER_IMAGES=registry"):
            Daemon(f"unix://{tmp_path}/sock").inspect("x")
