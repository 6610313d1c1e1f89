"""Source distributions and wheels that tests make themselves, and folders that serve them as an index."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

BACKEND_PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
"""A project that brings its own backend, `backend.py`, and so needs no other package to be built."""

HONEST_BACKEND = """\
import hashlib, os, zipfile

NAME, VERSION = {name!r}, {version!r}
FILES = {{NAME + ".py": "VALUE = 42\\n"}}


def build_wheel(folder, config_settings=None, metadata_directory=None):
    return write(folder, f"{{NAME}}-{{VERSION}}-py3-none-any.whl", FILES)


def write(folder, filename, files):
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    files = dict(files)
    files[info + "/METADATA"] = f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n"
    files[info + "/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[info + "/RECORD"] = "".join(f"{{path}},,\\n" for path in files) + info + "/RECORD,,\\n"
    with zipfile.ZipFile(os.path.join(folder, filename), "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return filename
"""


def make_sdist(folder: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """Write `name-version.tar.gz` with `files` in its one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    root = f"{name}-{version}"
    with tarfile.open(path, "w:gz") as archive:
        for relative, text in {"PKG-INFO": _metadata(name, version), **files}.items():
            entry = tarfile.TarInfo(f"{root}/{relative}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def make_backend_sdist(folder: Path, name: str, version: str, more: str = "") -> Path:
    """Write a source distribution whose backend makes an honest wheel, unless `more` overrules it."""
    backend = HONEST_BACKEND.format(name=name, version=version) + more
    return make_sdist(folder, name, version, {"pyproject.toml": BACKEND_PROJECT, "backend.py": backend})


def make_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a pure wheel with one module that has a `VALUE`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": f"VALUE = {version!r}\n",
        f"{info}/METADATA": _metadata(name, version) + needs,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_record(text)}\n" for path, text in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for relative, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(relative), text)
    return path


def make_index(root: Path, files: Path) -> str:
    """Write a simple index of the archives in `files`, with hashes; return its address."""
    pages: dict[str, list[str]] = {}
    for path in sorted(files.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        link = f'<a href="{path.as_uri()}#sha256={digest}">{path.name}</a>'
        pages.setdefault(path.name.split("-")[0].replace("_", "-"), []).append(link)
    root.mkdir(parents=True, exist_ok=True)
    for name, links in pages.items():
        (root / name).mkdir(exist_ok=True)
        (root / name / "index.html").write_text("\n".join(links))
    return root.as_uri()


def _metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def _record(text: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(text.encode())}"
