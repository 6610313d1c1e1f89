"""Images in a Docker daemon that keeps them in containerd: it gets the blobs that it lacks, and runs them."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker_daemon import DockerDaemon
from image_builder import FIRST, SECOND, builder, make
from vitrine_builder.failures import BuildFailure
from vitrine_builder.images.docker import REPOSITORY, Daemon
from vitrine_builder.images.work import name_of
from vitrine_engine.docker.images import WITH_BYTECODE

BUSY = b"markupsafe==3.0.3\n"


class Sent:
    """The names of layers in each archive that a daemon is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layers: list[list[str]] = []
        load = Daemon.load

        def heard(daemon: Daemon, archive: Iterator[bytes]) -> None:
            content = b"".join(archive)
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                self.layers.append([name for name in tar.getnames() if name.startswith("layers/")])
                self.manifest = json.load(tar.extractfile("manifest") or io.BytesIO())
            load(daemon, iter((content,)))

        monkeypatch.setattr(Daemon, "load", heard)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What is sent from now on."""
    return Sent(monkeypatch)


@pytest.fixture
def _images_gone(containerd_store: DockerDaemon) -> Iterator[None]:
    """Leave the daemon with no more than its base."""
    yield
    with contextlib.closing(containerd_store.client()) as client:
        for image in client.images.list(name=REPOSITORY):
            client.images.remove(image.id, force=True)


pytestmark = pytest.mark.usefixtures("_images_gone")


async def test_it_gets_the_blobs_that_it_lacks_and_runs_them(
    tmp_path: Path, containerd_store: DockerDaemon, sent: Sent
) -> None:
    async with builder(tmp_path, containerd_store) as parts:
        lock, first = await make(parts, FIRST)
        _, second = await make(parts, SECOND)
        assert first.image is not None
        assert second.image is not None
        known = {layer.diff_id for layer in first.image.layers}
        new = [layer for layer in second.image.layers if layer.diff_id not in known]
        # Of the first image all but the base, which is there.
        assert [len(layers) for layers in sent.layers] == [len(known) - 1, len(new)]
        assert new
        assert sent.manifest["config"]["digest"] == second.image.digest
        found = parts.store.find(lock)
        assert found is not None
        assert found.image == first.image
    with contextlib.closing(containerd_store.client()) as client:
        said = client.containers.run(
            client.images.get(name_of(second.digest)).id,
            ["/env/bin/python", "-c", "import six, yaml; print(six.__version__, yaml.__with_libyaml__)"],
            remove=True,
            network_mode="none",
        )
        assert said.decode().split() == ["1.17.0", "True"]


async def test_its_images_are_those_of_other_daemons(
    tmp_path: Path, containerd_store: DockerDaemon, docker_daemon: DockerDaemon
) -> None:
    async with builder(tmp_path / "here", containerd_store) as one:
        lock, first = await make(one, FIRST)
    async with builder(tmp_path / "there", docker_daemon) as other:
        second = await other.store.materialise(lock)
    assert first.image is not None
    assert second.image is not None
    assert first.image.digest == second.image.digest
    with contextlib.closing(docker_daemon.client()) as client:
        client.images.remove(name_of(second.digest))


async def test_the_image_with_bytecode_shares_all_other_layers(
    tmp_path: Path, containerd_store: DockerDaemon, sent: Sent
) -> None:
    async with builder(tmp_path, containerd_store) as parts:
        _, made = await make(parts, FIRST)
        assert made.image is not None
        sent.layers.clear()
        assert await parts.store.completer.complete(made.path)
        bytecode = len(sent.manifest["layers"]) - len(made.image.layers)
        assert bytecode > 0
        assert [len(layers) for layers in sent.layers] == [bytecode]
        daemon = Daemon(containerd_store.url)
        with contextlib.closing(daemon):
            assert daemon.inspect(f"{name_of(made.digest)}{WITH_BYTECODE}") is not None


async def test_a_blob_that_is_gone_is_sent_after_all(
    tmp_path: Path, containerd_store: DockerDaemon, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with builder(tmp_path, containerd_store) as parts:
        lock, made = await make(parts, FIRST)
        assert made.image is not None
        believed = [tuple(layer.diff_id for layer in made.image.layers)]
        with contextlib.closing(containerd_store.client()) as client:
            client.images.remove(name_of(made.digest))
        monkeypatch.setattr(Daemon, "own_layers", lambda _daemon: believed)
        sent.layers.clear()
        again = await parts.store.materialise(lock)
        assert again.image is not None
        assert again.image.digest == made.image.digest
        assert [len(layers) for layers in sent.layers] == [0, len(made.image.layers) - 1]


async def test_a_daemon_that_is_killed_over_an_image_gets_it_again(
    tmp_path: Path, containerd_store: DockerDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Daemon.load

    def killed(daemon: Daemon, archive: Iterator[bytes]) -> None:
        def half() -> Iterator[bytes]:
            yield next(archive)
            containerd_store.kill()
            yield from archive

        load(daemon, half())

    async with builder(tmp_path, containerd_store) as parts:
        monkeypatch.setattr(Daemon, "load", killed)
        try:
            with pytest.raises(BuildFailure, match="does not answer"):
                await make(parts, BUSY)
        finally:
            containerd_store.start()
        monkeypatch.setattr(Daemon, "load", load)
        _, made = await make(parts, BUSY)
    with contextlib.closing(containerd_store.client()) as client:
        said = client.containers.run(
            name_of(made.digest),
            ["/env/bin/python", "-c", "import markupsafe._speedups; print(1)"],
            remove=True,
            network_mode="none",
        )
        assert said.decode().split() == ["1"]
