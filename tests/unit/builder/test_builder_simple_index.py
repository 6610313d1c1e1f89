"""Pages of an index, as servers write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.simple_index import IndexFile, SimpleIndexes

HTML = """<html><body>
<a href="../../files/Six-1.0.tar.gz#sha256=aa" data-requires-python="&gt;=3.8">Six-1.0.tar.gz</a>
<a href="six-1.10-py3-none-any.whl" data-yanked="broken">six</a>
<a href="https://other.example/six-1.9.zip#md5=bb">six</a>
<a href="six-1.0.exe">six</a><a>nothing</a><a href="other-2.0.tar.gz">other</a>
</body></html>"""


def folder(root: Path, text: str, name: str = "six") -> str:
    (root / name).mkdir(parents=True)
    (root / name / "index.html").write_text(text)
    return root.as_uri()


async def test_a_page_of_a_folder_gives_its_files_the_newest_first(tmp_path: Path) -> None:
    files = await SimpleIndexes([folder(tmp_path / "simple", HTML)], {}).files("SIX")
    assert [(str(file.version), file.sha256, file.requires_python, file.yanked) for file in files] == [
        ("1.10", None, None, True),
        ("1.9", None, None, False),
        ("1.0", "aa", ">=3.8", False),
    ]
    assert files[2].url == f"{tmp_path.as_uri()}/files/Six-1.0.tar.gz"
    assert [file.is_wheel for file in files] == [True, False, False]


async def test_a_page_in_json_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {
        "filename": "six-1.0.tar.gz",
        "url": "six-1.0.tar.gz",
        "hashes": {"sha256": "aa"},
        "requires-python": ">=3.8",
        "yanked": "why",
    }

    def answer(request: httpx.Request) -> httpx.Response:
        assert "simple.v1+json" in request.headers["accept"]
        if request.url.path != "/simple/six/":
            return httpx.Response(404)
        kind = {"content-type": "application/vnd.pypi.simple.v1+json"}
        return httpx.Response(200, headers=kind, text=json.dumps({"files": [entry]}))

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(SimpleIndexes, "_client", lambda *_: client)
    files = await SimpleIndexes(["https://a.example/simple"], {}).files("six")
    assert [(file.url, file.sha256, file.yanked) for file in files] == [
        ("https://a.example/simple/six/six-1.0.tar.gz", "aa", True)
    ]


@pytest.mark.parametrize("page", ["[1]", "{", '{"files": [{}]}', '{"files": 3}'])
async def test_a_page_that_is_none_is_empty(monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    kind = {"content-type": "application/vnd.pypi.simple.v1+json"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=kind, text=page))
    monkeypatch.setattr(SimpleIndexes, "_client", lambda *_: httpx.AsyncClient(transport=transport))
    assert await SimpleIndexes(["https://a.example/simple"], {}).files("six") == []


async def test_one_index_that_is_away_does_not_hide_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(500))
    monkeypatch.setattr(SimpleIndexes, "_client", lambda *_: httpx.AsyncClient(transport=transport))
    away = "https://me:secret@a.example/simple"
    assert len(await SimpleIndexes([away, folder(tmp_path, HTML)], {}).files("six")) == 3
    with pytest.raises(BuildFailure) as caught:
        await SimpleIndexes([away], {}).files("six")
    assert caught.value.reason is FailureReason.INDEX_UNREACHABLE
    assert "secret" not in caught.value.sentence


async def test_a_download_is_held_to_its_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "six-1.0.tar.gz").write_bytes(b"source")
    digest = hashlib.sha256(b"source").hexdigest()
    files = await SimpleIndexes(
        [folder(tmp_path / "simple", f'<a href="../../six-1.0.tar.gz#sha256={digest}">')], {}
    ).files("six")
    place = tmp_path / "here"
    indexes = SimpleIndexes([], {})
    assert await indexes.download(files[0], place, 100) == digest
    assert place.read_bytes() == b"source"
    with pytest.raises(BuildFailure, match="more than 3 bytes"):
        await indexes.download(files[0], place, 3)
    forged = IndexFile("six", files[0].version, "six-1.0.tar.gz", files[0].url, "0" * 64)
    with pytest.raises(BuildFailure) as caught:
        await indexes.download(forged, place, 100)
    assert caught.value.reason is FailureReason.HASH_MISMATCH
