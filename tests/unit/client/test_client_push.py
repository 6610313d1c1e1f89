"""What a push sends, again and again, and what it says when it cannot."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import httpx
import pytest

import onnx_bytes
from client_doubles import FakePlatform, problem
from vitrine.errors import BadBundle, Refused, Unreachable, UploadFailed
from vitrine.push import Silent

SPEC = "name: demo\nmodel: {command: python run.py}\n"


class Counted(Silent):
    """Counts what a watch is told."""

    def __init__(self) -> None:
        self.plan: tuple[int, int, int, int] | None = None
        self.bytes = 0

    def planned(self, files: int, total_bytes: int, blobs: int, missing_bytes: int) -> None:
        self.plan = (files, total_bytes, blobs, missing_bytes)

    def sent(self, count: int) -> None:
        self.bytes += count


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (folder / "vitrine.yaml").write_text(SPEC)
    (folder / "run.py").write_text("print('hello')\n")
    (folder / "data/weights.bin").write_bytes(bytes(range(256)))
    return folder


def test_every_byte_arrives_in_parts(platform: FakePlatform, model: Path, tmp_path: Path) -> None:
    watch = Counted()
    with platform.client(journal=tmp_path / "journal") as client:
        assert client.push(model, watch=watch).reference == "ada/filter@1"
    contents = set(platform.blobs.values())
    assert contents == {path.read_bytes() for path in model.rglob("*") if path.is_file()}
    size = sum(len(content) for content in contents)
    assert watch.plan == (3, size, 3, size)
    assert watch.bytes == size
    assert platform.counts()["PUT part"] == sum(-(-len(content) // 4) for content in contents)
    paths = [entry["path"] for entry in platform.manifests[0]["manifest"]["files"]]
    assert paths == ["data/weights.bin", "run.py", "vitrine.yaml"]
    assert not list((tmp_path / "journal").iterdir())


def test_a_second_push_sends_nothing(platform: FakePlatform, model: Path) -> None:
    with platform.client() as client:
        client.push(model)
        platform.requests.clear()
        client.push(model)
    assert platform.counts() == {"POST /api/v1/blobs/missing": 1, "POST /api/v1/versions": 1}


def test_a_changed_file_is_sent_alone(platform: FakePlatform, model: Path) -> None:
    with platform.client() as client:
        client.push(model)
        (model / "run.py").write_text("ok")
        platform.requests.clear()
        client.push(model)
    counts = platform.counts()
    assert (counts["PUT part"], counts["POST /api/v1/blobs/complete"]) == (1, 1)


def test_equal_files_are_sent_once_and_empty_ones_too(platform: FakePlatform, model: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (model / name).write_text("abc")
    (model / "empty.txt").touch()
    with platform.client() as client:
        client.push(model)
    assert b"" in platform.blobs.values()
    assert len(platform.uploads) == 5


def test_parts_are_tried_again(platform: FakePlatform, model: Path) -> None:
    platform.part_bytes = 1 << 20
    platform.store_faults = iter((503, 500))
    watch = Counted()
    with platform.client() as client:
        client.push(model, watch=watch)
    assert len(platform.blobs) == 3
    assert len(platform.pauses) == 2
    assert watch.plan is not None
    assert watch.bytes == watch.plan[3]


def test_a_store_that_never_takes_it_is_named(platform: FakePlatform, model: Path) -> None:
    platform.store_faults = itertools.repeat(500)
    with platform.client() as client, pytest.raises(UploadFailed, match="the store said 500") as raised:
        client.push(model)
    assert "only what is missing" in raised.value.advice
    assert not platform.manifests


def test_an_expired_address_is_asked_for_again(platform: FakePlatform, model: Path) -> None:
    platform.store_faults = iter((403,))
    with platform.client() as client:
        client.push(model)
    assert len(platform.blobs) == 3
    assert platform.counts()["POST /api/v1/blobs/missing"] == 2


def test_an_interrupted_upload_goes_on_where_it_stopped(
    platform: FakePlatform, model: Path, tmp_path: Path
) -> None:
    (model / "run.py").unlink()
    (model / "vitrine.yaml").write_text("name: d\nmodel: {command: python x.py}\n")
    platform.part_bytes = 100
    platform.store_faults = itertools.chain((200, 200, 200), itertools.repeat(500))
    with platform.client(journal=tmp_path / "journal") as client:
        with pytest.raises(UploadFailed):
            client.push(model)
        arrived = sum(len(parts) for parts in platform.staged.values())
        assert arrived == 3
        platform.store_faults = iter(())
        platform.requests.clear()
        client.push(model)
    assert platform.counts()["PUT part"] == 4 - arrived
    assert len(platform.blobs) == 2


def test_what_the_store_has_forgotten_is_sent_again(
    platform: FakePlatform, model: Path, tmp_path: Path
) -> None:
    platform.part_bytes = 100
    platform.store_faults = itertools.chain((200,) * 4, itertools.repeat(500))
    with platform.client(journal=tmp_path / "journal") as client:
        with pytest.raises(UploadFailed):
            client.push(model)
        platform.store_faults = iter(())
        platform.uploads.clear()
        platform.staged.clear()
        client.push(model)
    assert len(platform.blobs) == 3


def test_a_file_that_changes_meanwhile_is_named(platform: FakePlatform, model: Path) -> None:
    class Meddler(Silent):
        def planned(self, *_: int) -> None:
            (model / "run.py").write_text("print('other')\n")

    with platform.client() as client, pytest.raises(UploadFailed, match=r"run\.py is not what it was"):
        client.push(model, watch=Meddler())


def test_many_files_are_asked_for_in_batches(platform: FakePlatform, model: Path) -> None:
    for number in range(1100):
        (model / f"{number}.txt").write_text(str(number))
    platform.part_bytes = 1000
    with platform.client() as client:
        client.push(model)
    assert platform.counts()["POST /api/v1/blobs/missing"] == 2
    assert len(platform.blobs) == 1103


def test_problems_of_the_file_are_named_by_line_before_anything_is_sent(
    platform: FakePlatform, model: Path
) -> None:
    (model / "vitrine.yaml").write_text(SPEC + "colour: red\n")
    with platform.client() as client, pytest.raises(BadBundle) as raised:
        client.push(model)
    assert str(raised.value.faults[0]).startswith("vitrine.yaml:3: colour: is not a known key")
    assert not platform.requests


def test_a_missing_file_and_a_link_out_are_named(platform: FakePlatform, model: Path) -> None:
    (model / "vitrine.yaml").write_text(SPEC + "model_card: CARD.md\n")
    with platform.client() as client:
        with pytest.raises(BadBundle) as raised:
            client.push(model)
        assert "`CARD.md` is not in the bundle" in str(raised.value.faults[0])
        (model / "out").symlink_to("/etc/hostname")
        with pytest.raises(BadBundle) as raised:
            client.push(model)
    assert "symbolic link out of the directory" in str(raised.value.faults[0])
    assert not platform.requests


def test_an_untrained_model_is_not_pushed_but_trained(platform: FakePlatform, model: Path) -> None:
    (model / "vitrine.yaml").write_text(
        "name: demo\nonnx: model.onnx\ntrain: {command: python run.py, outputs: model.onnx}\n"
    )
    platform.routes["POST /api/v1/trainings"] = lambda _: httpx.Response(
        202, json={"id": "trial_1", "state": "queued"}
    )
    with platform.client() as client:
        with pytest.raises(BadBundle) as raised:
            client.push(model)
        assert "vitrine train" in str(raised.value.faults[0])
        assert client.train(model).id == "trial_1"


def test_an_archive_is_unpacked(platform: FakePlatform, model: Path, tmp_path: Path) -> None:
    packed = tmp_path / "model.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(model / "vitrine.yaml", "model/vitrine.yaml")
        archive.write(model / "run.py", "model/run.py")
    with platform.client() as client:
        client.push(packed)
    assert [one["path"] for one in platform.manifests[0]["manifest"]["files"]] == ["run.py", "vitrine.yaml"]


def test_a_bare_onnx_file_gets_a_vitrine_yaml(platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "My Net.onnx").write_bytes(onnx_bytes.model(weights=[onnx_bytes.weight("w", "w/big.bin")]))
    (tmp_path / "w").mkdir()
    (tmp_path / "w/big.bin").write_bytes(b"weights")
    with platform.client() as client:
        client.push(tmp_path / "My Net.onnx")
    manifest = platform.manifests[0]["manifest"]
    assert manifest["spec"]["name"] == "my-net"
    assert manifest["spec"]["onnx"] == "My Net.onnx"
    assert [item["name"] for item in manifest["spec"]["inputs"]] == ["x"]
    assert {one["path"] for one in manifest["files"]} == {"My Net.onnx", "vitrine.yaml", "w/big.bin"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["My Net.onnx", "w"]


def test_a_file_that_only_ends_like_an_onnx_model_is_refused(platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"this is text")
    with platform.client() as client, pytest.raises(BadBundle, match="cannot be read as an ONNX model"):
        client.push(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing", "does not exist"), ("notes.txt", "cannot be pushed"), ("broken.zip", "is damaged")],
)
def test_what_cannot_be_pushed_says_so(platform: FakePlatform, tmp_path: Path, name: str, words: str) -> None:
    if name != "nothing":
        (tmp_path / name).write_text("text")
    with platform.client() as client, pytest.raises(BadBundle) as raised:
        client.push(tmp_path / name)
    assert words in " ".join([raised.value.message, *map(str, raised.value.faults)])


def test_a_cog_project_is_pushed_as_it_is(platform: FakePlatform, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text("predict: predict.py:Predictor\n")
    code = "class Predictor:\n    def predict(self, n: int) -> str: ...\n"
    (tmp_path / "predict.py").write_text(code)
    with platform.client() as client:
        client.push(tmp_path)
    spec = platform.manifests[0]["manifest"]["spec"]
    assert spec["predictor"] == "predict.py:Predictor"
    assert [item["name"] for item in spec["inputs"]] == ["n"]


def test_a_refusal_of_the_platform_carries_its_fields(platform: FakePlatform, model: Path) -> None:
    platform.routes["POST /api/v1/versions"] = lambda _: problem(422, "not valid", ("spec.name", "is taken"))
    with platform.client() as client, pytest.raises(Refused, match="not valid") as raised:
        client.push(model)
    assert (raised.value.status, str(raised.value.faults[0])) == (422, "spec.name: is taken")


def test_a_platform_that_is_away_is_said_to_be(model: Path) -> None:
    def nobody(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    platform = FakePlatform()
    platform.answer = nobody  # type: ignore[method-assign, assignment]
    with platform.client() as client, pytest.raises(Unreachable, match="Nothing answers at") as raised:
        client.push(model)
    assert "vitrine up" in raised.value.advice
