"""The operator's indexes as uv is told of them, and local folders of wheels as an index with hashes."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from vitrine_builder import sources
from vitrine_builder.lock import Target
from vitrine_builder.process import Bounds
from vitrine_builder.sources import LocalLinks, Sources, open_sources
from vitrine_builder.uv import Uv


@dataclass(frozen=True)
class ToldUv(Uv):
    """Names the default index as uv does."""

    async def pip(
        self,
        action: str,
        arguments: Sequence[str],
        requirements: str,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> str:
        del on_line
        assert (action, requirements) == ("compile", "")
        assert "--emit-index-url" in arguments
        chosen = self.environment.get("UV_DEFAULT_INDEX", "https://default.example/simple")
        return f"--index-url {chosen}\n--extra-index-url https://ignored.example\n"


async def told(tmp_path: Path, environment: Mapping[str, str]) -> Sources:
    uv = ToldUv(tmp_path, Path("python"), Target(), environment, Bounds(1))
    return await open_sources(uv, tmp_path / "private", tmp_path / "links.json", 600)


def wheel(folder: Path, name: str = "six-1.0+cpu-py3-none-any.whl", data: bytes = b"wheel") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


async def test_indexes_are_written_in_their_order_with_how_long_they_are_fresh(tmp_path: Path) -> None:
    made = await told(
        tmp_path,
        {
            "UV_INDEX": "own=https://me:pass=word@own.example/simple/",
            "UV_EXTRA_INDEX_URL": "https://b.example/simple file:///srv/simple",
            "UV_DEFAULT_INDEX": "https://a.example/simple",
            "UV_HTTP_TIMEOUT": "9",
        },
    )
    assert made.config is not None
    fresh = {"api": "max-age=600", "files": "max-age=31536000, immutable"}
    assert tomllib.loads(made.config.read_text())["index"] == [
        {"name": "own", "url": "https://me:pass=word@own.example/simple/", "cache-control": fresh},
        {"url": "https://b.example/simple", "cache-control": fresh},
        {"url": "file:///srv/simple"},
        {"url": "https://a.example/simple", "default": True, "cache-control": fresh},
    ]
    assert made.environment == {"UV_HTTP_TIMEOUT": "9"}
    assert made.indexes.urls[0] == "https://me:pass=word@own.example/simple/"


async def test_what_may_carry_a_password_is_its_owners_alone_and_in_no_text(tmp_path: Path) -> None:
    made = await told(tmp_path, {"UV_DEFAULT_INDEX": "https://me:secret@a.example/simple"})
    assert made.config is not None
    assert stat.S_IMODE(made.config.stat().st_mode) == 0o600
    uv = made.tell(ToldUv(tmp_path, Path("python"), Target(), {}, Bounds(1)))
    assert "secret" not in f"{made!r}{uv!r}{made.indexes!r}"


async def test_without_settings_it_is_uvs_own_index(tmp_path: Path) -> None:
    made = await told(tmp_path, {})
    assert list(made.indexes.urls) == ["https://default.example/simple"]
    assert list(made.links.folders) == []


async def test_a_local_folder_becomes_an_index_and_an_address_stays(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels")
    links = f"{tmp_path / 'wheels'},https://links.example/page"
    made = await told(tmp_path, {"UV_FIND_LINKS": links})
    assert made.links.folders == [tmp_path / "wheels"]
    assert made.environment == {
        "UV_FIND_LINKS": "https://links.example/page",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert made.indexes.urls[0] == made.links.directory.as_uri()


@pytest.mark.parametrize(
    "environment",
    [
        {"UV_EXTRA_INDEX_URL": "https://b.example/simple"},
        {"UV_EXTRA_INDEX_URL": "https://b.example/simple", "UV_INDEX_STRATEGY": "first-index"},
        {"UV_OFFLINE": "1"},
    ],
)
async def test_where_the_first_index_wins_folders_stay_what_they_are(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wheel(tmp_path / "wheels")
    made = await told(tmp_path, {"UV_FIND_LINKS": str(tmp_path / "wheels"), **environment})
    assert list(made.links.folders) == []
    assert made.environment["UV_FIND_LINKS"] == str(tmp_path / "wheels")


async def test_folders_are_listed_with_hashes_that_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = list[str]()
    real = sources._sha256

    def sha256(path: Path) -> str:
        hashed.append(path.name)
        return real(path)

    monkeypatch.setattr(sources, "_sha256", sha256)
    file = wheel(tmp_path / "wheels")
    wheel(tmp_path / "wheels", "My_Thing-2.tar.gz")
    wheel(tmp_path / "wheels", "notes.txt")

    def links() -> LocalLinks:
        return LocalLinks([tmp_path / "wheels", tmp_path / "gone"], tmp_path / "index", tmp_path / "m.json")

    first = links()
    state = await first.refresh()
    page = (tmp_path / "index" / "six" / "index.html").read_text()
    digest = hashlib.sha256(b"wheel").hexdigest()
    assert f'href="{file.as_uri()}#sha256={digest}">six-1.0+cpu-py3-none-any.whl</a>' in page
    assert (tmp_path / "index" / "my-thing" / "index.html").exists()
    assert await first.refresh() == state
    assert await links().refresh() == state
    assert sorted(hashed) == ["My_Thing-2.tar.gz", "six-1.0+cpu-py3-none-any.whl"]

    wheel(tmp_path / "wheels", "idna-3-py3-none-any.whl", b"more")
    file.unlink()
    assert await first.refresh() != state
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["idna", "my-thing"]
    assert hashed[2:] == ["idna-3-py3-none-any.whl"]


async def test_a_file_that_changed_is_hashed_again(tmp_path: Path) -> None:
    file = wheel(tmp_path / "wheels")
    links = LocalLinks([tmp_path / "wheels"], tmp_path / "index", tmp_path / "m.json")
    before = await links.refresh()
    file.write_bytes(b"other")
    os.utime(file, ns=(1, 1))
    assert await links.refresh() != before
    page = (tmp_path / "index" / "six" / "index.html").read_text()
    assert hashlib.sha256(b"other").hexdigest() in page
