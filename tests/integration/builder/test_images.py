"""Real wheels become images: equal wherever and whenever they are made, and loaded by what is missing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from docker_daemon import DockerDaemon
from image_builder import FIRST, SECOND, builder, make
from vitrine_builder.app import Parts
from vitrine_builder.dossiers import Dossiers
from vitrine_builder.failures import BuildFailure
from vitrine_builder.images.docker import REPOSITORY, Daemon
from vitrine_builder.images.plan import plan_layers
from vitrine_builder.images.tar import Entry, Tar
from vitrine_builder.images.work import name_of
from vitrine_builder.lock import Lock
from vitrine_builder.tending import remove_images
from vitrine_engine.docker.images import WITH_BYTECODE


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
    layers = [layer for package in lock.packages if (layer := parts.store.layers.find(package))]
    made = [*images.below(lock), *images.groups(plan_layers(layers))]
    return [b"".join(part.chunks()) for part in made if not part.is_base]


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


async def test_the_interpreter_of_the_host_is_in_no_image(tmp_path: Path) -> None:
    """Two builds of one Python write different bytecode; an image and its documents know of neither."""
    here, there = sorted(interpreters().items())[:2]
    async with (
        builder(tmp_path / "here", python=here[1]) as one,
        builder(tmp_path / "there", python=there[1]) as two,
    ):
        assert one.store.layers.compiler.version != two.store.layers.compiler.version
        lock, first = await make(one, FIRST)
        second_lock, second = await make(two, FIRST)
        assert first.image is not None
        assert second.image is not None
        assert second_lock == lock
        assert first.image.digest == second.image.digest
        assert await layers_of(one, lock) == await layers_of(two, lock)
        assert tree(first.path) == tree(second.path)
        dossiers = [Dossiers(parts.store.workspace, parts.store.layers).make(lock) for parts in (one, two)]
        assert dossiers[0] == dossiers[1]


def interpreters() -> dict[str, Path]:
    """Return Pythons of this machine by what their builds are called; the test needs two."""
    found: dict[str, Path] = {}
    places = [Path("/usr/bin"), Path("/usr/local/bin"), Path(sys.base_prefix) / "bin"]
    places += sorted(Path.home().glob(".pyenv/versions/3.11.*/bin"))
    for python in [place / "python3.11" for place in places]:
        if python.exists():
            show = [str(python), "-c", "import sys, platform; print(sys.version, platform.python_compiler())"]
            found.setdefault(subprocess.run(show, capture_output=True, check=True, text=True).stdout, python)
    if len(found) < 2:
        pytest.skip("this machine has one build of Python 3.11 only; the test compares two")
    return found


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
            ["/env/bin/python", "-c", "import six, yaml; print(six.__version__, yaml.__with_libyaml__)"],
            remove=True,
            network_mode="none",
        )
        assert said.decode().split() == ["1.17.0", "True"]
        said = client.containers.run(name_of(second.digest), ["normalizer", "--version"], remove=True)
        assert b"3.4.4" in said
        for made in (first, second):
            client.images.remove(name_of(made.digest))


async def test_what_a_daemon_lacks_is_read_once(
    tmp_path: Path, docker_daemon: DockerDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[Sequence[Entry]] = Counter()
    chunks = Tar.chunks

    def counted(tar: Tar) -> Iterator[bytes]:
        read[tar.entries] += any(entry.source for entry in tar.entries)
        return chunks(tar)

    monkeypatch.setattr(Tar, "chunks", counted)
    async with builder(tmp_path, docker_daemon) as parts:
        made = []
        for requirements in (FIRST, SECOND):
            read.clear()
            made.append((await make(parts, requirements))[1])
            assert set(read.values()) == {0, 1}, "of what every environment has, and of wheels"
    with contextlib.closing(docker_daemon.client()) as client:
        for each in made:
            client.images.remove(name_of(each.digest))


async def test_bytecode_follows_in_an_image_of_its_own(tmp_path: Path, docker_daemon: DockerDaemon) -> None:
    program = (
        "import json, sys, importlib.util as u, pathlib as p; import six, yaml, markdown_it;"
        "names = [m for m in sys.modules.values() if (getattr(m, '__file__', '') or '').startswith('/env')];"
        "print(json.dumps([m.__name__ for m in names if m.__file__.endswith('.py')"
        " and not p.Path(m.__cached__).exists()]), len(names))"
    )
    with contextlib.closing(docker_daemon.client()) as client:
        async with builder(tmp_path, docker_daemon) as parts:
            _, first = await make(parts, FIRST)
            assert await parts.store.completer.complete(first.path)
            _, second = await make(parts, SECOND)
            assert await parts.store.completer.complete(second.path)
            assert await parts.store.completer.complete(second.path) is False
            name = f"{name_of(second.digest)}{WITH_BYTECODE}"
            client.images.remove(name)
            assert await parts.store.completer.complete(second.path), "it is made again where it was lost"
        image = client.images.get(name)
        plain = client.images.get(name_of(second.digest)).attrs["RootFS"]["Layers"]
        assert [layer for layer in image.attrs["RootFS"]["Layers"] if layer in plain] == plain
        said = client.containers.run(name, ["/env/bin/python", "-c", program], remove=True).decode()
        assert said.startswith("[] "), said
        assert client.images.list(filters={"label": "dev.vitrine.partial"}, all=True) == []
        for made in (first, second):
            client.images.remove(name_of(made.digest))
            client.images.remove(f"{name_of(made.digest)}{WITH_BYTECODE}")


async def test_images_go_with_their_environments_and_not_while_they_are_used(
    tmp_path: Path, docker_daemon: DockerDaemon
) -> None:
    with contextlib.closing(docker_daemon.client()) as client:

        def names() -> set[str]:
            return {tag for image in client.images.list(name=REPOSITORY) for tag in image.tags}

        async with builder(tmp_path, docker_daemon) as parts:
            workspace, daemon = parts.store.workspace, Daemon(docker_daemon.url)
            lock, made = await make(parts, b"six==1.17.0\n")
            assert await parts.store.completer.complete(made.path)
            both = {name_of(made.digest), f"{name_of(made.digest)}{WITH_BYTECODE}"}
            assert both <= names()
            assert remove_images(workspace, daemon) == [], "its environment is there"
            made.path.rename(workspace.drafts / "trash")
            async with parts.store.in_use(lock):
                assert remove_images(workspace, daemon) == []
            assert both <= names()
            gone = remove_images(workspace, daemon)
            assert set(gone) == {made.path.name}
            assert not both & names()
            assert remove_images(workspace, daemon) == []


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


async def test_a_daemon_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildFailure, match="Docker daemon does not answer"):
        Daemon(f"unix://{tmp_path}/nowhere.sock").inspect(f"{REPOSITORY}:x")


async def test_a_base_that_the_daemon_lacks_is_named(docker_daemon: DockerDaemon) -> None:
    daemon = Daemon(docker_daemon.url)
    with pytest.raises(BuildFailure, match="no image `nobody/has:this`"), contextlib.closing(daemon):
        daemon.base("nobody/has:this")
