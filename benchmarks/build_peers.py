"""The builder beside what people use otherwise, on the same lists, in one daemon, one after the other.

usage: build_peers.py [--first FILE] [--second FILE] [--peer pip|buildkit|commit ...] [--json]

`pip` is `docker build` with `pip install -r`; `buildkit` is BuildKit with uv and a cache mount; `commit`
installs into a running container and commits it, as the literature's builder does. Each begins with an empty
cache on the same base image and builds the first list, then the second. Containers use the package index that
pip is configured for here; folders of this machine are served to them on the loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from build import machine, measure, options
from docker_site import docker_site
from vitrine_builder.settings import BuilderSettings
from vitrine_common.indexes import pip_settings, uv_environment

PEERS = ("pip", "buildkit", "commit")
CERTIFICATES = "/tmp/certificates.pem"
PIP = """FROM {base}
COPY certificates.pem {certificates}
ENV {variables}
RUN python3 -m venv /env
COPY requirements.txt /requirements.txt
RUN /env/bin/pip install --quiet --no-cache-dir -r /requirements.txt
"""
BUILDKIT = """FROM {base}
COPY certificates.pem {certificates}
COPY uv /usr/local/bin/uv
ENV {variables}
RUN uv venv --quiet /env
COPY requirements.txt /requirements.txt
RUN --mount=type=cache,target=/cache uv pip install --quiet --cache-dir /cache --link-mode copy \\
    --compile-bytecode --python /env/bin/python -r /requirements.txt
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Say nothing of each file."""


@dataclass
class Served:
    """Folders of this machine as addresses that containers on the host's network reach."""

    stack: contextlib.ExitStack
    known: dict[str, str] = field(default_factory=dict)

    def address(self, place: str) -> str:
        """Return `place` as it is when it is an address, or what serves the folder's parent."""
        if "://" in place and not place.startswith("file://"):
            return place
        folder = Path(place.removeprefix("file://"))
        root = str(folder.parent)
        if root not in self.known:
            handler = functools.partial(_Quiet, directory=root)
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.stack.callback(server.server_close)
            self.stack.callback(server.shutdown)
            self.known[root] = f"http://127.0.0.1:{server.server_address[1]}"
        return f"{self.known[root]}/{folder.name}"


@dataclass(frozen=True)
class Bench:
    """One daemon, one base, and the settings of packages' sources."""

    url: str
    base: str
    folder: Path
    pip: Mapping[str, str]
    uv: Mapping[str, str]

    def docker(self, *words: str, buildkit: bool = False) -> str:
        """Run the docker client; raises CalledProcessError with what it said."""
        environment = {**os.environ, "DOCKER_HOST": self.url, "DOCKER_BUILDKIT": str(int(buildkit))}
        client = buildkit_client() if buildkit else "docker"
        done = subprocess.run(
            [client or "docker", *words], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
            done.check_returncode()
        return done.stdout.strip()

    def build(self, dockerfile: str, variables: Mapping[str, str], file: Path, *, buildkit: bool) -> None:
        """Build an image of `file`; the builder's own cache is kept between the two lists."""
        text = " ".join(f"{name}={json.dumps(value)}" for name, value in variables.items())
        content = dockerfile.format(base=self.base, certificates=CERTIFICATES, variables=text)
        (self.folder / "Dockerfile").write_text(content)
        shutil.copy(file, self.folder / "requirements.txt")
        self.docker("build", "--network", "host", "--quiet", str(self.folder), buildkit=buildkit)

    def commit(self, base: str, file: Path, name: str) -> None:
        """Install into a running container of `base`, and make an image of it."""
        variables = [f"--env={key}={value}" for key, value in self.pip.items()]
        command = ["run", "--detach", "--network", "host", *variables, base, "sleep", "3600"]
        container = self.docker(*command)
        try:
            self.docker("cp", str(self.folder / "certificates.pem"), f"{container}:{CERTIFICATES}")
            self.docker("cp", str(file), f"{container}:/requirements.txt")
            install = "test -d /env || python3 -m venv /env; /env/bin/pip install -q -r /requirements.txt"
            self.docker("exec", container, "sh", "-c", install)
            self.docker("commit", container, name)
        finally:
            self.docker("rm", "--force", container)


def buildkit_client() -> str | None:
    """Return a docker client that speaks to BuildKit: an old one has it built in, a new one as a plugin."""
    for folder in os.environ["PATH"].split(":"):
        client = shutil.which("docker", path=folder)
        if client is None:
            continue
        plugin = subprocess.run([client, "buildx", "version"], capture_output=True, check=False)
        version = subprocess.run([client, "--version"], capture_output=True, check=False, text=True).stdout
        if plugin.returncode == 0 or "version 20." in version or "version 19." in version:
            return client
    return None


def buildkit_version() -> str:
    """Return what the client that speaks to BuildKit says of itself."""
    client = buildkit_client()
    if client is None:
        return "none"
    return subprocess.run([client, "--version"], capture_output=True, check=False, text=True).stdout.strip()


def timed(steps: list[Callable[[], None]]) -> dict[str, float]:
    """Run the two builds; return their seconds."""
    seconds = []
    for step in steps:
        started = time.perf_counter()
        step()
        seconds.append(round(time.perf_counter() - started, 2))
    return {"first_s": seconds[0], "second_s": seconds[1]}


@contextlib.contextmanager
def bench(url: str, base: str) -> Iterator[Bench]:
    """Give a bench with a build context that holds what both kinds of build need."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vitrine-peers-")))
        served = Served(stack)
        settings = pip_settings(os.environ)
        pip = {
            f"PIP_{option.upper().replace('-', '_')}": " ".join(map(served.address, settings[option].split()))
            for option in ("index-url", "extra-index-url", "find-links")
            if settings.get(option)
        }
        uv = {
            name: " ".join(map(served.address, value.replace(",", " ").split()))
            if "://" in value or name == "UV_FIND_LINKS"
            else value
            for name, value in uv_environment(os.environ).items()
            if not name.startswith("SSL_")
        }
        certificates = settings.get("cert") or "/etc/ssl/certs/ca-certificates.crt"
        shutil.copy(certificates, folder / "certificates.pem")
        shutil.copy(find_uv_bin(), folder / "uv")
        pip |= {"PIP_CERT": CERTIFICATES, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        yield Bench(url, base, folder, pip, {**uv, "SSL_CERT_FILE": CERTIFICATES})


def compare(first: Path, second: Path, chosen: Sequence[str]) -> dict[str, Any]:
    """Measure ourselves and the `chosen` peers in a fresh daemon.

    A peer that this machine cannot run is None, and says why on stderr.
    """
    with docker_site() as site, bench(site.url, site.base_image) as peers:
        with tempfile.TemporaryDirectory(prefix="vitrine-build-") as folder:
            settings = BuilderSettings(images="docker", docker_url=site.url, base_image=site.base_image)
            root = Path(folder) / "environments"
            # Bytecode that still follows would be in the peers' way, and ends with its builder.
            ours = asyncio.run(measure(root, settings, first, second, site, bytecode=False))
        files = (first, second)
        bases = (site.base_image, "peers/commit:1")
        methods: dict[str, list[Callable[[], None]]] = {
            "pip": [functools.partial(peers.build, PIP, peers.pip, file, buildkit=False) for file in files],
            "buildkit": [
                functools.partial(peers.build, BUILDKIT, peers.uv, file, buildkit=True) for file in files
            ],
            "commit": [
                functools.partial(peers.commit, base, file, f"peers/commit:{number}")
                for number, (base, file) in enumerate(zip(bases, files, strict=True), 1)
            ],
        }
        result: dict[str, Any] = {"vitrine": {key: ours[key] for key in ("first_s", "second_s", "same_s")}}
        for name in chosen:
            try:
                result[name] = timed(methods[name])
            except (subprocess.CalledProcessError, OSError) as error:
                sys.stderr.write(f"{name}: {error}\n")
                result[name] = None
    return result


def ratios(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many times longer each peer takes."""
    ours = result["vitrine"]
    return {
        name: {key: round(value / ours[key], 1) for key, value in peer.items()}
        for name, peer in result.items()
        if peer is not None and name != "vitrine"
    }


def text(result: Mapping[str, Any]) -> str:
    """Format a comparison for people."""
    lines = [f"{'':<10} {'first':>9} {'second':>9}"]
    for name, times in result["seconds"].items():
        if times is None:
            lines.append(f"{name:<10} could not run here")
            continue
        lines.append(f"{name:<10} {times['first_s']:8.2f}s {times['second_s']:8.2f}s")
        if ratio := result["ratios"].get(name):
            lines[-1] += f"   {ratio['first_s']:g} and {ratio['second_s']:g} times as long"
    return "\n".join(lines)


def main() -> int:
    """Measure and print; the exit status says whether numbers were had, not whether they are good."""
    parser = options(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--peer", action="append", choices=PEERS, help="this one; default: all")
    arguments = parser.parse_args()
    os.umask(0o022)
    seconds = compare(arguments.first, arguments.second, arguments.peer or PEERS)
    result = {
        "seconds": seconds,
        "ratios": ratios(seconds),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "buildkit": buildkit_version(),
    }
    sys.stdout.write((json.dumps(result, indent=2) if arguments.json else text(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
