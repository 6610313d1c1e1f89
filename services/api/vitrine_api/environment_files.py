"""Files that make an environment again without Vitrine: requirements with hashes, a Dockerfile, lists."""

from __future__ import annotations

import io
import zipfile

from vitrine_api.environments import conda_of
from vitrine_common.documents import Environment

REQUIREMENTS = "requirements.txt"
DEBIAN = "packages.txt"
CONDA = "conda.txt"
DOCKERFILE = "Dockerfile"
_EPOCH = (1980, 1, 1, 0, 0, 0)

_HEAD = """# The environment {digest}
# of a Vitrine platform, made again with what pip and Docker bring along:
#
#     docker build -t environment .
#
# Any Debian of the release that the packages are of will do as the base, if it has python{python} with venv.
ARG BASE=python:{python}-slim-bookworm
FROM ${{BASE}}
"""
_SYSTEM = """
# Versions are those that were installed. Where a mirror has newer ones only, take a snapshot of that time.
COPY packages.txt /tmp/environment/packages.txt
RUN apt-get update \\
 && xargs -a /tmp/environment/packages.txt apt-get install -y --no-install-recommends --allow-downgrades \\
 && rm -rf /var/lib/apt/lists/*
"""
_WHEELS = """
# Mirrors and folders of wheels are arguments: docker build --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
COPY . /tmp/environment
RUN python{python} -m venv /env \\
 && /env/bin/python -m pip install --no-cache-dir --no-deps --require-hashes \\
    -r /tmp/environment/requirements.txt \\
 && rm -rf /tmp/environment
ENV PATH=/env/bin:${{PATH}}
"""
_CONDA = """
# conda.txt lists packages that only conda has, with their builds and hashes; they are not installed here.
"""


def files_of(environment: Environment) -> dict[str, bytes]:
    """Return the files by name."""
    conda = conda_of(environment.lock)
    lines = [line for line in environment.lock.splitlines() if line and not line.startswith("#")]
    found = {
        REQUIREMENTS: _text(
            [f"# Python {environment.python}; pip install --require-hashes -r {REQUIREMENTS}"]
        )
        + _text(lines),
        DOCKERFILE: _dockerfile(environment, with_conda=bool(conda)).encode(),
    }
    if environment.system:
        found[DEBIAN] = _text(environment.system)
    if conda:
        found[CONDA] = _text(conda)
    return found


def packed(files: dict[str, bytes]) -> bytes:
    """Return files as a zip, equal for equal files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return out.getvalue()


def _dockerfile(environment: Environment, *, with_conda: bool) -> str:
    parts = [_HEAD, *([_SYSTEM] if environment.system else []), *([_CONDA] if with_conda else []), _WHEELS]
    return "".join(part.format(digest=environment.id, python=environment.python) for part in parts)


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
