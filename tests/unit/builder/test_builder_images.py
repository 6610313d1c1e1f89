"""Plans of layers, deterministic tars, and the configuration of an image."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vitrine_builder.failures import BuildFailure
from vitrine_builder.images.config import BaseImage, Image, ImageLayer, config_bytes
from vitrine_builder.images.content import bytecode_entries, meta_layer, outdated, wheel_entries
from vitrine_builder.images.docker import Archive
from vitrine_builder.images.parts import FixedPart
from vitrine_builder.images.plan import LARGE_BYTES, MOST_ALONE, MOST_LAYERS, SMALL_BYTES, plan_layers
from vitrine_builder.images.tar import Entry, Tar, file_entry, link_entry, whole
from vitrine_builder.layers import Bytecode, Layer, list_files
from vitrine_builder.lock import LockedPackage, Target

SITE = "lib/python3.11/site-packages"


@dataclass(frozen=True)
class Package:
    name: str
    content: int


def packages(seed: int, count: int) -> list[Package]:
    """Make a list like real ones: many small packages, a few large ones."""
    chance = random.Random(seed)
    names = chance.sample(range(10_000), count)
    return [Package(f"p{name}", int(10 ** chance.uniform(3, 8.7))) for name in names]


def names(plan: tuple[tuple[Package, ...], ...]) -> list[tuple[str, ...]]:
    return [tuple(package.name for package in group) for group in plan]


@pytest.mark.parametrize("seed", range(200))
def test_one_package_more_changes_the_layer_that_it_goes_to_and_no_other(seed: int) -> None:
    count = random.Random(seed).choice([0, 1, 5, 20, 50, 100, 180])
    *before, added = packages(seed, count + 1)
    old, new = names(plan_layers(before)), names(plan_layers([*before, added]))
    changed = [group for group in new if group not in old]
    gone = [group for group in old if group not in new]
    large = sum(package.content >= LARGE_BYTES for package in before)
    displaced = added.content >= LARGE_BYTES and large >= MOST_ALONE
    assert any(added.name in group for group in changed)
    assert len(changed) <= (2 if displaced else 1)
    assert all(any(set(group) <= set(other) or displaced for other in new) for group in gone)


@pytest.mark.parametrize("count", [0, 1, 60, 300, 2000])
def test_a_plan_is_a_function_of_the_packages_and_never_has_too_many_layers(count: int) -> None:
    chosen = packages(count, count)
    plan = plan_layers(chosen)
    assert len(plan) <= MOST_LAYERS <= 80
    assert sorted(package.name for group in plan for package in group) == sorted(p.name for p in chosen)
    random.Random(0).shuffle(chosen)
    assert plan_layers(chosen) == plan


def test_a_small_package_more_leaves_what_lies_below_alone() -> None:
    """Docker names a layer by all that is below it: what a tiny package changes must lie high."""
    before = [package for package in packages(1, 120) if package.content > SMALL_BYTES]
    before += [Package(f"tiny{number}", 1000) for number in range(20)]
    old, new = (names(plan_layers(each)) for each in (before, [*before, Package("tabulate", 90_000)]))
    same = next(number for number, (one, two) in enumerate(zip(old, new, strict=True)) if one != two)
    assert len(new) - same <= 2


def test_a_tar_is_what_other_programs_read_and_its_size_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1_500_000)
    long, foreign = "a/" + "b" * 120, "a/" + "ä" * 60
    entries = whole(
        [
            Entry("bin/x", 0o555, 1_500_000, str(tmp_path / "x")),
            file_entry(long, b"long"),
            file_entry(foreign, b"foreign"),
            file_entry("d/" * 60 + "deep", b"deep"),
            link_entry("bin/y", "x"),
            link_entry("bin/z", "l" * 150),
        ]
    )
    tar = Tar(entries)
    content = b"".join(tar.chunks())
    assert len(content) == tar.size
    assert tar.digest() == "sha256:" + hashlib.sha256(content).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [entry.path.rstrip("/") for entry in entries]
        assert {(member.uid, member.gid, member.mtime, member.uname) for member in members} == {(0, 0, 0, "")}
        assert archive.extractfile("bin/x").read() == (tmp_path / "x").read_bytes()  # type: ignore[union-attr]
        assert archive.extractfile(foreign).read() == b"foreign"  # type: ignore[union-attr]
        assert archive.getmember("bin/z").linkname == "l" * 150
        assert archive.getmember("bin").isdir()
        assert archive.getmember("bin/x").mode == 0o555


def test_a_file_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 10)
    with pytest.raises(BuildFailure, match="shorter than it was: x"):
        list(Tar((Entry("x", 0o444, 11, str(tmp_path / "x")),)).chunks())


def layer(path: Path, files: dict[str, str]) -> Layer:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    package = LockedPackage(path.name, "1", ("sha256:" + "0" * 64,))
    return Layer(package, path, 0, list_files(path))


def test_a_layer_takes_along_the_bytecode_of_what_it_hides(tmp_path: Path) -> None:
    """Conda's packages bring bytecode, which no import compares with its source."""
    brought = {
        f"{SITE}/one.py": "old",
        f"{SITE}/__pycache__/one.cpython-311.pyc": "of the old",
        f"{SITE}/two.py": "",
        f"{SITE}/__pycache__/two.cpython-311.pyc": "",
    }
    conda, wheel = layer(tmp_path / "conda", brought), layer(tmp_path / "one", {f"{SITE}/one.py": "new"})
    stale = f"{SITE}/__pycache__/one.cpython-311.pyc"
    assert outdated([[wheel], [conda]]) == [(), ()]
    assert outdated([[conda], [wheel]]) == [(), (stale,)]
    paths = [entry.path for entry in wheel_entries([wheel], Target(), (stale,))]
    assert f"env/{SITE}/__pycache__/.wh.one.cpython-311.pyc" in paths
    together = [entry.path for entry in wheel_entries([conda, wheel], Target())]
    assert f"env/{stale}" not in together
    assert not [path for path in together if ".wh." in path]


def test_a_package_brings_neither_an_interpreter_nor_what_hides_the_files_of_others(tmp_path: Path) -> None:
    brought = {
        f"{SITE}/good.py": "",
        "bin/python": "evil",
        f"{SITE}/.wh.six.py": "",
        f"{SITE}/.wh..wh..opq": "",
        f"{SITE}/.wh.numpy/__init__.py": "",
    }
    paths = [entry.path for entry in wheel_entries([layer(tmp_path / "a", brought)], Target())]
    assert [path for path in paths if not path.endswith("/")] == [f"env/{SITE}/good.py"]


def test_bytecode_is_that_of_the_source_that_wins(tmp_path: Path) -> None:
    layers = []
    for name, files in (("low", ("one.py", "two.py")), ("high", ("two.py", "three/__pycache__"))):
        plain = layer(tmp_path / name, {f"{SITE}/{file}": name for file in files})
        made = layer(
            tmp_path / f"{name}.bytecode",
            {
                f"{SITE}/__pycache__/{file.removesuffix('.py')}.cpython-311.pyc": name
                for file in files
                if file.endswith(".py")
            }
            | {f"{SITE}/three/__pycache__/x.cpython-311.pyc": "behind a file"},
        )
        layers.append(replace(plain, compiled=Bytecode(made.tree, made.listing, 0)))
    low, high = layers
    owners = {
        f"{SITE}/one.py": low.tree,
        f"{SITE}/two.py": high.tree,
        f"{SITE}/three/__pycache__": high.tree,
        f"{SITE}/three/x.py": high.tree,
    }
    entries = bytecode_entries(layers, owners)
    assert {entry.path: entry.source for entry in entries if entry.source} == {
        f"env/{SITE}/__pycache__/one.cpython-311.pyc": (
            f"{tmp_path}/low.bytecode/{SITE}/__pycache__/one.cpython-311.pyc"
        ),
        f"env/{SITE}/__pycache__/two.cpython-311.pyc": (
            f"{tmp_path}/high.bytecode/{SITE}/__pycache__/two.cpython-311.pyc"
        ),
    }


def test_what_every_environment_has_starts_the_bases_python() -> None:
    content = b"".join(meta_layer(Target(), "/usr/local").chunks())
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getmember("opt/python").linkname == "/usr/local"
        assert archive.getmember("env/bin/python").linkname == "/opt/python/bin/python3.11"
        assert b"home = /opt/python/bin" in archive.extractfile("env/pyvenv.cfg").read()  # type: ignore[union-attr]


BASE = BaseImage(
    "sha256:base", (ImageLayer("sha256:b", 1, "base"),), {"Env": ["PATH=/bin", "LANG=C"], "Hostname": "me"}
)


def test_a_configuration_tells_digests_and_nothing_of_who_made_it() -> None:
    labels = {"environment": "sha256:e", "lock": "sha256:l"}
    layers = (*BASE.layers, ImageLayer("sha256:w", 2, "wheels", ("a==1",)))
    image = Image("sha256:e", "e", config_bytes(BASE, layers, labels), layers)
    document = json.loads(image.config)
    assert document["rootfs"]["diff_ids"] == ["sha256:b", "sha256:w"]
    assert document["config"] == {
        "Env": ["PATH=/env/bin:/usr/local/bin:/usr/bin:/bin", "LANG=C"],
        "Labels": {"dev.vitrine.environment": "sha256:e", "dev.vitrine.lock": "sha256:l"},
    }
    assert document["created"] == "1970-01-01T00:00:00Z"
    assert image.digest == "sha256:" + hashlib.sha256(image.config).hexdigest()


def test_an_archive_names_all_layers_and_holds_those_that_are_missing() -> None:
    layers = [FixedPart(meta_layer(Target(), prefix)) for prefix in ("/usr", "/usr/local")]
    content = b"".join(Archive(layers, 1, "vitrine/env:x").chunks(lambda: b"{}"))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        config = hashlib.sha256(b"{}").hexdigest() + ".json"
        assert archive.getnames() == ["1/layer.tar", config, "manifest.json"]
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert archive.getmember("1/layer.tar").size == layers[1].size
    assert manifest == [
        {"Config": config, "RepoTags": ["vitrine/env:x"], "Layers": ["0/layer.tar", "1/layer.tar"]}
    ]
