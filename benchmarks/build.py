"""How long the builder takes from cold caches: a list of packages, the list and one more, the same again.

usage: build.py [--first FILE] [--second FILE] [--engine process|docker] [--docker-url URL] [--json]

With the engine `process` an environment is a folder; with `docker` it is an image too, loaded into a daemon.
Bytecode follows, and waits while builds go on; the second build begins when the first ends.
That daemon is started here, as root, with empty data and a base image made with debootstrap, unless
`--docker-url` names one (then with `--base-image`). Resolving, downloading, unpacking, compiling, assembling
and loading overlap, so the steps add up to more than the whole. `daemon_floor_s` is what a fresh daemon takes
to load what it was sent, with nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from docker_floor import daemon_floor
from docker_site import DockerSite, docker_site
from vitrine_builder.app import Parts, open_parts
from vitrine_builder.completion import is_complete
from vitrine_builder.materialise import Materialised
from vitrine_builder.progress import Stopwatch
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.workspace import open_workspace

FOLDER = Path(__file__).parent / "requirements"
GOALS = {
    "process": {"first_s": 6.0, "second_s": 0.5, "same_s": 0.1},
    "docker": {"first_s": 10.0, "second_s": 0.6, "same_s": 0.1},
}


@dataclass(frozen=True)
class Made:
    """One build: what it gave, its seconds, those of processors, and the milliseconds of its steps.

    `daemon_cpu_seconds` are those of a Docker daemon that was started here.
    """

    environment: Materialised
    seconds: float
    cpu_seconds: float
    daemon_cpu_seconds: float
    steps_ms: dict[str, float]


async def build(parts: Parts, file: Path, site: DockerSite | None = None) -> Made:
    """Make the environment of the requirements in `file`; `site` is the daemon that was started for it."""
    watch = Stopwatch()
    daemon_before = site.cpu_seconds() if site else 0.0
    started, before = time.perf_counter(), _cpu()
    requirements = parse_requirements(await asyncio.to_thread(file.read_bytes))
    async with parts.store.ahead(requirements.text) as ahead:
        with watch.measure("resolve"):
            lock = await parts.resolver.resolve(requirements)
        parts.store.guesses.remember(requirements.text.splitlines(), lock)
        environment = await asyncio.to_thread(parts.store.find, lock)
        if environment is None:
            environment = await parts.store.materialise(lock, watch=watch, ahead=ahead)
    seconds, cpu = time.perf_counter() - started, _cpu() - before
    daemon_cpu = site.cpu_seconds() - daemon_before if site else 0.0
    return Made(environment, seconds, cpu, daemon_cpu, watch.milliseconds)


def _cpu() -> float:
    """Seconds of processor time of this process and of its children that ended; a daemon's are not in it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


async def measure(
    root: Path,
    settings: BuilderSettings,
    first: Path,
    second: Path,
    site: DockerSite | None = None,
    *,
    bytecode: bool = True,
) -> dict[str, Any]:
    """Build all three in the empty folder `root`; with `bytecode`, wait for theirs at the end."""
    with open_workspace(root) as workspace:
        sandboxes = BuildSandboxes(root / ".builder" / "sandboxes", settings.build_limits)
        try:
            parts = await open_parts(settings, workspace, sandboxes)
            following = asyncio.create_task(parts.store.completer.run())
            made = [await build(parts, file, site) for file in (first, second, second)]
            started = time.perf_counter()
            while bytecode and not all(is_complete(each.environment.path) for each in made):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            bytecode_seconds = time.perf_counter() - started
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        finally:
            await sandboxes.aclose()
    one, two, same = made
    images = [each.environment.image.digest for each in made if each.environment.image]
    layers = two.environment.image.layers if two.environment.image else ()
    return {
        "first_s": round(one.seconds, 3),
        "second_s": round(two.seconds, 3),
        "same_s": round(same.seconds, 3),
        "bytecode_s": round(bytecode_seconds, 3),
        "image_digest": images[1] if images else None,
        "first_image_digest": images[0] if images else None,
        "environment_digest": two.environment.digest,
        "layers_new": sum(not layer.reused for layer in layers),
        "layers_reused": sum(layer.reused for layer in layers),
        "packages": two.environment.packages,
        "files": two.environment.files,
        "bytes": two.environment.size,
        "cpu_s": {
            name: {"builder": round(each.cpu_seconds, 2), "daemon": round(each.daemon_cpu_seconds, 2)}
            for name, each in zip(("first", "second", "same"), made, strict=True)
        },
        "steps_ms": {"first": one.steps_ms, "second": two.steps_ms, "same": same.steps_ms},
    }


def machine() -> dict[str, Any]:
    """Describe what the numbers were measured on."""
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


@contextmanager
def settings_for(arguments: argparse.Namespace) -> Iterator[tuple[BuilderSettings, DockerSite | None]]:
    """Give the builder's settings for the engine, with a daemon where it needs one."""
    if arguments.engine == "process":
        yield BuilderSettings(images="never"), None
    elif arguments.docker_url:
        url, base = arguments.docker_url, arguments.base_image
        yield BuilderSettings(images="docker", docker_url=url, base_image=base), None
    else:
        with docker_site() as site:
            yield BuilderSettings(images="docker", docker_url=site.url, base_image=site.base_image), site


def text(result: dict[str, Any]) -> str:
    """Format a measurement for people."""
    lines = [f"{key:<9} {result[key]:7.2f} s   goal {result['goals'][key]:g} s" for key in result["goals"]]
    if floor := result.get("daemon_floor_s"):
        lines.append("docker load alone: " + json.dumps(floor))
    lines.append(f"bytecode follows the last build by {result['bytecode_s']:.2f} s")
    lines.append("processor time: " + json.dumps(result["cpu_s"]))
    for name, steps in result["steps_ms"].items():
        lines.append(f"{name}: " + ", ".join(f"{step} {value / 1000:.2f} s" for step, value in steps.items()))
    return "\n".join(lines)


def options(description: str | None) -> argparse.ArgumentParser:
    """Return the arguments that the benchmarks of builds share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--first", type=Path, default=FOLDER / "first.txt", help="requirements")
    parser.add_argument("--second", type=Path, default=FOLDER / "second.txt", help="with one package more")
    parser.add_argument("--docker-url", help="use this daemon; default: a fresh one")
    parser.add_argument("--base-image", default="", help="image of that daemon to build on")
    parser.add_argument("--folder", type=Path, help="where to build; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    return parser


def main() -> int:
    """Measure and print; the exit status says whether numbers were had, not whether they are good."""
    parser = options(__doc__)
    parser.add_argument("--engine", choices=sorted(GOALS), default="process")
    arguments = parser.parse_args()
    os.umask(0o022)
    temporary = tempfile.TemporaryDirectory(prefix="vitrine-build-", dir=arguments.folder)
    with temporary as folder, settings_for(arguments) as (settings, site):
        root = Path(folder) / "environments"
        result = asyncio.run(measure(root, settings, arguments.first, arguments.second, site))
        if site is not None:
            images = (result["first_image_digest"], result["image_digest"])
            result["daemon_floor_s"] = daemon_floor(site, images, Path(folder))
    result |= {
        "engine": arguments.engine,
        "goals": GOALS[arguments.engine],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }
    sys.stdout.write((json.dumps(result, indent=2) if arguments.json else text(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
