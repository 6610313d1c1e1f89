"""What a stranger's build may hand over, and which source distribution is taken."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.lock import Target
from vitrine_builder.requirements import parse_requirements
from vitrine_builder.sdists import BuildSandboxes, Sdists
from vitrine_builder.sdists.wheel import BadWheelError, check_wheel
from vitrine_builder.simple_index import SimpleIndexes
from vitrine_builder.workspace import Workspace

METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"
ANY = "thing-1.0-py3-none-any.whl"


def made(
    folder: Path, filename: str = ANY, *more: zipfile.ZipInfo, name: str = "Thing", version: str = "1.0"
) -> Path:
    path = folder / filename
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing.py", "x = 1\n")
        archive.writestr("thing-1.0.dist-info/METADATA", METADATA.format(name, version))
        for entry in more:
            archive.writestr(entry, "x")
    return path


def refused(path: Path, max_bytes: int = 10_000) -> str:
    with pytest.raises(BadWheelError) as caught:
        check_wheel(path, "thing", Version("1.0"), Target(), max_bytes)
    return str(caught.value)


@pytest.mark.parametrize(
    "filename", [ANY, "thing-1.0-cp311-cp311-linux_x86_64.whl", "thing-1.0-cp38-abi3-linux_x86_64.whl"]
)
def test_a_wheel_for_the_target_is_taken(tmp_path: Path, filename: str) -> None:
    check_wheel(made(tmp_path, filename), "thing", Version("1"), Target(), 10_000)


@pytest.mark.parametrize(
    ("filename", "said"),
    [
        ("numpy-1.0-py3-none-any.whl", "a wheel of `numpy==1.0`"),
        ("thing-2.0-py3-none-any.whl", "a wheel of `thing==2.0`"),
        ("thing-1.0-cp312-cp312-linux_x86_64.whl", "for another platform"),
        ("thing-1.0-py3-none-win_amd64.whl", "for another platform"),
        ("thing.txt", "that is no wheel"),
        ("thing.whl", "that is no wheel"),
    ],
)
def test_a_wheel_of_another_name_is_refused(tmp_path: Path, filename: str, said: str) -> None:
    assert said in refused(made(tmp_path, filename))


@pytest.mark.parametrize("path", ["../escape.py", "/etc/escape", "a/../../b", "..\\b", "a/.."])
def test_a_wheel_that_leaves_its_folder_is_refused(tmp_path: Path, path: str) -> None:
    assert "with the path" in refused(made(tmp_path, ANY, zipfile.ZipInfo(path)))


def test_a_wheel_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("thing/passwords")
    link.external_attr = 0o120777 << 16
    assert "with a link" in refused(made(tmp_path, ANY, link))


def test_a_wheel_that_calls_itself_something_else_is_refused(tmp_path: Path) -> None:
    assert "calls itself `numpy==1.0`" in refused(made(tmp_path, name="numpy"))
    assert "calls itself `Thing==9`" in refused(made(tmp_path, version="9"))
    assert "calls itself" in refused(made(tmp_path, version="newest"))


def test_a_wheel_that_says_what_it_is_twice_is_refused(tmp_path: Path) -> None:
    again = zipfile.ZipInfo("numpy-1.dist-info/METADATA")
    assert "without its description" in refused(made(tmp_path, ANY, again))


def test_a_wheel_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    assert "too much" in refused(made(tmp_path), max_bytes=10)


def test_a_wheel_that_is_broken_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"x = 1", b"x = 2"))
    assert "cannot be read" in refused(path)
    path.write_bytes(b"PK")
    assert "cannot be read" in refused(path)


PAGE = """
<a href="thing-1.0.tar.gz#sha256=aa">1</a><a href="thing-2.0.zip#sha256=bb">2</a>
<a href="thing-3.0-py3-none-win_amd64.whl">3</a><a href="thing-4.0rc1.tar.gz">4</a>
<a href="thing-5.0.tar.gz" data-requires-python="&gt;=3.12">5</a>
<a href="thing-6.0.tar.gz" data-yanked>6</a><a href="thing-1.5.tar.gz" data-requires-python="x">1</a>
"""


@pytest.fixture
def sdists(tmp_path: Path) -> Sdists:
    (tmp_path / "simple" / "thing").mkdir(parents=True)
    (tmp_path / "simple" / "thing" / "index.html").write_text(PAGE)
    indexes = SimpleIndexes([(tmp_path / "simple").as_uri()], {})
    workspace = Workspace(tmp_path, tmp_path, -1)

    async def never(*_: object) -> None:
        raise AssertionError("nothing is built here")

    return Sdists(workspace, indexes, BuildSandboxes(tmp_path), Target(), never, never)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("culprit", "text", "chosen"),
    [
        ("thing", "thing", "2.0"),
        ("thing==1.0", "thing==1.0", "1.0"),
        ("thing", "thing<2", "1.5"),
        ("thing>=1", "", "2.0"),
        ("thing[more]", "thing", "2.0"),
        ("thing==6.0", "thing==6.0", "6.0"),
        ("thing==4.0rc1", "thing==4.0rc1", "4.0rc1"),
        ("thing", f"thing --hash=sha256:{'c' * 64}", None),
        ("thing>6", "thing", None),
        ("thing==5.0", "", None),
        ("thing==3.0", "", None),
    ],
)
async def test_the_newest_source_that_fits_is_taken(
    sdists: Sdists, culprit: str, text: str, chosen: str | None
) -> None:
    line = parse_requirements(text.encode()).find("thing")
    if chosen is not None:
        assert str((await sdists._choose(culprit, line)).version) == chosen
        return
    with pytest.raises(BuildFailure) as caught:
        await sdists.wheel(culprit, line)
    assert caught.value.reason is FailureReason.NO_WHEEL
    assert f"`{culprit}` has no wheel" in caught.value.sentence
