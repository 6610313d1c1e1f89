"""Images on their way to a real registry: what is sent and verified, and what a Docker daemon makes of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from containerd_daemon import containerd
from docker_daemon import LOUD, DockerDaemon, why_no_daemon
from registry_server import HTPASSWD, PASSWORD, USER, RegistryServer
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.dossiers import Dossiers
from vitrine_builder.failures import BuildFailure
from vitrine_builder.images.compiled import CompiledImages
from vitrine_builder.images.config import BaseImage, ImageLayer, tag_of
from vitrine_builder.images.layout import Layout
from vitrine_builder.images.pull import Puller
from vitrine_builder.images.registry import Registry, open_registry
from vitrine_builder.images.registry_push import Compression, Destination, Pusher
from vitrine_builder.images.verify import verify_image
from vitrine_builder.images.work import Images, name_of
from vitrine_builder.materialise import Materialised
from vitrine_builder.progress import Step
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import open_workspace
from vitrine_engine.docker.images import WITH_BYTECODE

FIRST = b"six==1.17.0\npyyaml==6.0.3\n"
SECOND = FIRST + b"charset-normalizer==3.4.4\n"
SMALL = BaseImage("sha256:" + hashlib.sha256(b"base").hexdigest(), ())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


Open = Callable[..., Registry]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens repositories, and closes them after the test."""
    with contextlib.ExitStack() as stack:

        def call(place: str, **more: Any) -> Registry:
            return stack.enter_context(contextlib.closing(open_registry(place, **more)))

        yield call


def base_of(archive: Path) -> BaseImage:
    """A base made of a root file system's archive."""
    data = archive.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(data), 1 << 20):
            yield data[at : at + (1 << 20)]

    return BaseImage(digest, (ImageLayer(digest, len(data), "base", (), reused=True, chunks=chunks),))


@contextlib.asynccontextmanager
async def builder(
    root: Path, to: Destination | None, base: BaseImage = SMALL, compression: Compression = "zstd"
) -> AsyncIterator[Parts]:
    """Give a builder with empty caches that sends images to `to`, or to a layout of its own."""
    settings = BuilderSettings()
    with open_workspace(root) as workspace:
        sandboxes = BuildSandboxes(root / ".builder" / "sandboxes", settings.build_limits)
        try:
            parts = await open_parts(settings, workspace, sandboxes)
            pusher = Pusher(workspace, to or Layout(workspace), compression)
            attach = Dossiers(workspace, parts.store.layers).attachments
            images = Images(workspace, settings.target, base, None, pusher, None, attach)
            parts.store.completer.images = CompiledImages(images, parts.store.layers.compiler.version)
            yield replace(parts, store=replace(parts.store, images=images))
        finally:
            await sandboxes.aclose()


async def make(parts: Parts, requirements: bytes, steps: list[Step] | None = None) -> Materialised:
    lock = await parts.resolver.resolve(parse_requirements(requirements))
    return await parts.store.materialise(lock, (steps if steps is not None else []).append)


async def test_only_what_is_missing_is_sent_and_verified(
    tmp_path: Path, registry: RegistryServer, opened: Open
) -> None:
    place = opened(f"{registry.host}/lab")
    async with builder(tmp_path, place) as parts:
        steps: list[Step] = []
        first = await make(parts, FIRST, steps)
        pushes = [step for step in steps if step.name == "push"]
        assert pushes[-1].done == pushes[-1].total
        before = registry.blobs()
        second = await make(parts, SECOND)
        assert first.image is not None
        assert second.image is not None
        # One layer of wheels, the configuration, and the documents with their manifests.
        known = {layer.diff_id for layer in first.image.layers}
        new_layers = [layer for layer in second.image.layers if layer.diff_id not in known]
        manifest = place.manifest(tag_of(second.digest))
        assert manifest is not None
        layers = [layer["digest"] for layer in json.loads(manifest)["layers"]]
        assert len([digest for digest in layers if digest not in before]) == len(new_layers)
        verify_image(place, tag_of(second.digest), manifest, reading=True)
        assert parts.store.images is not None
        assert parts.store.images.find(second.digest) is not None
        assert (await make(parts, SECOND)).made is False


async def test_two_builders_send_the_same_blobs(
    tmp_path: Path, registry: RegistryServer, opened: Open
) -> None:
    place = opened(f"{registry.host}/twice")
    async with builder(tmp_path / "one", place) as one:
        first = await make(one, FIRST)
    manifest, before = place.manifest(tag_of(first.digest)), registry.blobs()
    async with builder(tmp_path / "two", place) as two:
        second = await make(two, FIRST)
    assert first.image is not None
    assert second.image is not None
    assert second.image.digest == first.image.digest
    assert place.manifest(tag_of(second.digest)) == manifest
    assert registry.blobs() == before


async def test_sbom_and_provenance_are_found_from_the_image(
    tmp_path: Path, registry: RegistryServer, opened: Open
) -> None:
    place = opened(f"{registry.host}/found")
    async with builder(tmp_path, place) as parts:
        made = await make(parts, FIRST)
    manifest = place.manifest(tag_of(made.digest))
    assert manifest is not None
    subject = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    index = place.manifest(subject.replace(":", "-"))  # this registry does not list them itself
    assert index is not None
    kinds = {}
    for entry in json.loads(index)["manifests"]:
        artifact = place.manifest(entry["digest"])
        assert artifact is not None
        assert json.loads(artifact)["subject"]["digest"] == subject
        kinds[entry["artifactType"]] = json.loads(artifact)["layers"][0]["digest"]
    told = json.loads(manifest)["annotations"]
    assert kinds == {
        "application/vnd.cyclonedx+json": told["dev.vitrine.sbom"],
        "application/vnd.in-toto+json": told["dev.vitrine.provenance"],
    }


async def test_a_blob_of_another_repository_is_not_sent_again(
    tmp_path: Path, registry: RegistryServer, opened: Open
) -> None:
    here = opened(f"{registry.host}/here")
    there = opened(f"{registry.host}/there", mount_from=("here/env",))
    async with builder(tmp_path, here) as parts:
        made = await make(parts, FIRST)
    manifest = json.loads(here.manifest(tag_of(made.digest)) or b"")
    digest = manifest["layers"][-1]["digest"]
    assert there.size_of(digest) is None
    assert there.adopt(digest)
    assert there.size_of(digest) == manifest["layers"][-1]["size"]
    assert not there.adopt("sha256:" + "0" * 64)


async def test_a_registry_that_asks_for_a_login(tmp_path: Path, opened: Open) -> None:
    server = RegistryServer(tmp_path / "registry", HTPASSWD)
    server.start()
    try:
        nobody = opened(server.host)
        async with builder(tmp_path / "one", nobody) as parts:
            with pytest.raises(BuildFailure, match="VITRINE_BUILDER_REGISTRY_USER"):
                await make(parts, FIRST)
        known = opened(server.host, user=USER, password=PASSWORD)
        async with builder(tmp_path / "two", known) as parts:
            made = await make(parts, FIRST)
        assert known.manifest_digest(tag_of(made.digest))
    finally:
        server.stop()


async def test_a_registry_that_is_away_says_so(tmp_path: Path, opened: Open) -> None:
    gone = opened("127.0.0.1:9")
    gone.pause_seconds = 0.0
    async with builder(tmp_path, gone) as parts:
        with pytest.raises(BuildFailure, match="registry does not answer"):
            await make(parts, FIRST)
        assert not list((tmp_path / ".builder" / "drafts").glob("*/*blob*"))


async def test_a_layout_holds_the_whole_image(tmp_path: Path) -> None:
    async with builder(tmp_path, None) as parts:
        first = await make(parts, FIRST)
        second = await make(parts, SECOND)
        assert parts.store.images is not None
        layout = Layout(parts.store.images.workspace)
        for made in (first, second):
            manifest = layout.manifest(tag_of(made.digest)) or b""
            verify_image(layout, tag_of(made.digest), manifest, reading=True)
        assert json.loads((layout.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
        listed = json.loads((layout.root / "index.json").read_bytes())["manifests"]
        assert len(listed) == 6, "two images, and for each an SBOM and a provenance"
        blob = (
            layout.root / "blobs/sha256" / json.loads(manifest)["layers"][0]["digest"].removeprefix("sha256:")
        )
        blob.write_bytes(b"another")
        with pytest.raises(BuildFailure, match="lacks a part"):
            verify_image(layout, tag_of(second.digest), manifest)


async def test_containerd_pulls_and_unpacks_what_was_pushed(
    tmp_path: Path, registry: RegistryServer, opened: Open
) -> None:
    if (reason := why_no_daemon()) is not None:
        pytest.skip(LOUD + reason)
    place = opened(f"{registry.host}/containerd")
    async with builder(tmp_path, place, compression="zstd") as parts:
        made = await make(parts, SECOND)
        assert await parts.store.completer.complete(made.path)
    name = f"{place.name}:{tag_of(made.digest)}"
    with containerd() as daemon:
        for tag in (name, f"{name}{WITH_BYTECODE}"):
            # It compares what it unpacks with the diff ids of the configuration.
            daemon.ctr("images", "pull", "--plain-http", tag)
            with daemon.mounted(tag) as shown:
                found = files_of(shown / "env")
                kept = {
                    path: digest
                    for path, digest in files_of(made.path).items()
                    if path not in {"environment.json", "bytecode.json"}
                    and (tag != name or "__pycache__" not in path)
                }
                assert found == kept
    assert any(path.endswith(".pyc") for path in found)


def files_of(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


async def test_a_docker_daemon_pulls_and_runs_what_was_pushed(
    tmp_path: Path,
    registry: RegistryServer,
    docker_daemon: DockerDaemon,
    docker_base_archive: Path,
    opened: Open,
) -> None:
    place = opened(f"{registry.host}/pulled")
    async with builder(tmp_path, place, base_of(docker_base_archive), "gzip") as parts:
        images = parts.store.images
        assert images is not None
        puller = Puller(docker_daemon.url, place.name)
        store = replace(parts.store, images=replace(images, puller=puller))
        made = await make(replace(parts, store=store), SECOND)
        assert puller.has(made.digest)
    assert made.image is not None
    with contextlib.closing(docker_daemon.client()) as client:
        image = client.images.get(name_of(made.digest))
        assert image.id == made.image.digest
        said = client.containers.run(
            name_of(made.digest),
            ["python", "-c", "import six, yaml; print(six.__file__)"],
            remove=True,
            network_mode="none",
        )
        assert said.strip() == b"/env/lib/python3.11/site-packages/six.py"
        client.images.remove(name_of(made.digest))
