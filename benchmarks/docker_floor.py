"""What a daemon alone takes: `docker load` of what a build sends, from memory, into a daemon without it."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker

from docker_site import DockerSite, docker_site

CHUNK = 1 << 20


def daemon_floor(site: DockerSite, images: Sequence[str], folder: Path) -> dict[str, Any]:
    """Load `images` of the daemon at `site` into a fresh one, one after the other.

    Each archive holds the layers that neither the base nor the image before has. Nobody makes, hashes or
    compares anything meanwhile. Returns seconds on the clock and of the daemon's processors, and bytes.
    """
    archives = [folder / f"{number}.tar" for number, _ in enumerate(images)]
    with contextlib.closing(docker.APIClient(base_url=site.url, timeout=600)) as client:
        known: list[str] = client.inspect_image(site.base_image)["RootFS"]["Layers"]
        for image, archive in zip(images, archives, strict=True):
            whole = folder / "whole.tar"
            with whole.open("wb") as file:
                file.writelines(client.get_image(image))
            layers: list[str] = client.inspect_image(image)["RootFS"]["Layers"]
            same = sum(1 for _ in _common(known, layers))
            _without(whole, same, archive)
            known = layers
    with docker_site() as fresh, contextlib.closing(docker.APIClient(fresh.url, timeout=600)) as client:
        loads = [_load(client, fresh, archive) for archive in archives]
    return dict(zip(("first", "second"), loads, strict=True))


def _common(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    """Yield what both begin with."""
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            return
        yield mine


def _without(whole: Path, count: int, archive: Path) -> None:
    """Write what `docker save` gave to `archive`, without the files of the lowest `count` layers."""
    with tarfile.open(whole) as source, tarfile.open(archive, "w") as target:
        manifest = source.extractfile("manifest.json") or io.BytesIO(b"[]")
        left_out = set(json.load(manifest)[0]["Layers"][:count])
        for member in source:
            if member.name not in left_out:
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    whole.unlink()


def _load(client: docker.APIClient, site: DockerSite, archive: Path) -> dict[str, float]:
    content = archive.read_bytes()
    pieces = (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))
    started, before = time.perf_counter(), site.cpu_seconds()
    for answer in client.load_image(pieces, quiet=True):
        if "error" in answer:
            raise RuntimeError(answer["error"])
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(site.cpu_seconds() - before, 2),
        "megabytes": round(len(content) / 1e6, 1),
    }
