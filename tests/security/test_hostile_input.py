"""Bundles, inputs, links and requests that nobody should accept: refused, by the name of the field."""

from __future__ import annotations

import io
import json
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from shared_digits import Digits
from stack_desk import StackDesk, eventually

# The first test to come also waits for the stack and the training, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)

GOOD = """\
name: typed
model:
  command: python model.py
  input: {type: flag}
inputs:
  words: {type: text, min_length: 2, max_length: 10, default: hello}
  count: {type: number, integer: true, min: 1, max: 9, default: 3}
  kind: {type: choice, choices: [red, green], default: red}
  extra: {type: json, default: {}}
outputs:
  answer: {type: text, path: stdout}
"""
PICTURE = """\
name: picture
model:
  command: python model.py
  input: {type: download, download_destination: picture.png}
inputs:
  picture: {type: image, max_bytes: 100k}
outputs:
  answer: {type: text, path: stdout}
"""
SCRIPT = "print('fine')\n"


def spec(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD_SPECS = {
    "unknown key": (spec("outputs:", "outpust:"), "outpust"),
    "unknown inner key": (spec("min_length", "min_lenght"), "min_lenght"),
    "wrong type": (spec("max: 9", "max: many"), "inputs.count.max"),
    "no name": (spec("name: typed\n", ""), "name"),
    "not YAML": ("name: [", "vitrine.yaml"),
    "missing file": (GOOD + "package: {type: pip, requirements_file: none.txt}\n", "none.txt"),
    "absolute path": (
        GOOD + "package: {type: pip, requirements_file: /etc/passwd}\n",
        "package.requirements_file: the path is absolute",
    ),
    "path upwards": (spec("path: stdout", "path: ../../etc"), "outputs.answer.path: the path leaves"),
}


@pytest.mark.parametrize("case", BAD_SPECS)
def test_a_bad_model_file_is_refused_by_the_command_line(stack: StackDesk, case: str) -> None:
    text, named = BAD_SPECS[case]
    folder = stack.bundle(f"bad-{case.replace(' ', '-')}", {"vitrine.yaml": text, "model.py": SCRIPT})
    options = ("--json",) if case == "unknown key" else ()
    said = stack.vitrine("push", folder, *options, status=1)
    assert named in said.text
    assert "Traceback" not in said.text


def manifest(stack: StackDesk, spec_change: dict[str, Any], files: list[dict[str, Any]]) -> httpx.Response:
    whole = {"name": "by-hand", "model": {"command": "python model.py"}, **spec_change}
    with stack.api() as api:
        return api.post("/versions", json={"manifest": {"spec": whole, "files": files}})


def stored(stack: StackDesk, content: bytes) -> dict[str, Any]:
    with stack.api() as api:
        answer: dict[str, Any] = api.put("/blobs", content=content).raise_for_status().json()
    return {"digest": answer["digest"], "size": answer["size"], "executable": False}


@pytest.mark.parametrize("path", ["/etc/cron.d/x", "../model.py", "a/../../b", "a//b", "", "a\\..\\b\x00"])
def test_a_manifest_cannot_name_places_outside(stack: StackDesk, path: str) -> None:
    kept = stored(stack, SCRIPT.encode())
    answer = manifest(stack, {}, [{"path": "model.py", **kept}, {"path": path, **kept}])
    assert_problem(answer, 422, json.dumps(path)[1:-1] or "the path is empty")


def test_a_manifest_is_checked_again_by_the_platform(stack: StackDesk) -> None:
    kept = stored(stack, SCRIPT.encode())
    files = [{"path": "model.py", **kept}]
    assert_problem(manifest(stack, {"outpust": {}}, files), 422, "outpust")
    inputs = {"inputs": [{"name": "n", "type": "number", "minimum": 3}]}
    assert_problem(manifest(stack, inputs, files), 422, "minimum")
    assert_problem(manifest(stack, {}, [*files, *files]), 422, "model.py")
    unknown = {"path": "weights.bin", "digest": f"sha256:{'0' * 64}", "size": 3, "executable": False}
    assert_problem(manifest(stack, {}, [*files, unknown]), 422, "weights.bin")
    lied = {**files[0], "size": 10**9}
    assert_problem(manifest(stack, {}, [lied]), 422, "model.py")


def assert_problem(answer: httpx.Response, status: int, named: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    told = json.dumps([body["detail"], body.get("errors")], ensure_ascii=True)
    assert named in told, body


def test_links_out_of_the_bundle_are_refused(stack: StackDesk) -> None:
    folder = stack.bundle("linked", {"vitrine.yaml": GOOD, "model.py": SCRIPT})
    (folder / "secret.txt").symlink_to("/etc/passwd")
    said = stack.vitrine("push", folder, status=None)
    assert said.status != 0
    assert "secret.txt" in said.text


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def traversal(folder: Path) -> Path:
    return zipped(folder / "traversal.zip", {"vitrine.yaml": GOOD.encode(), "../evil.py": b"1"})


def absolute(folder: Path) -> Path:
    return zipped(folder / "absolute.zip", {"vitrine.yaml": GOOD.encode(), "/tmp/evil.py": b"1"})


def bomb(folder: Path) -> Path:
    """Return an archive of half a megabyte that says it holds half a gigabyte of zeros."""
    return zipped(folder / "bomb.zip", {"vitrine.yaml": GOOD.encode(), "zeros.bin": bytes(512 << 20)})


def linked_tar(folder: Path) -> Path:
    path = folder / "linked.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        text = tarfile.TarInfo("vitrine.yaml")
        text.size = len(GOOD)
        archive.addfile(text, io.BytesIO(GOOD.encode()))
        link = tarfile.TarInfo("model.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize(
    ("make", "named"),
    [(traversal, "../evil.py"), (absolute, "evil.py"), (bomb, "zeros.bin"), (linked_tar, "model.py")],
)
def test_a_hostile_archive_is_refused(
    stack: StackDesk, tmp_path: Path, make: Callable[[Path], Path], named: str
) -> None:
    said = stack.vitrine("push", make(tmp_path), status=None)
    assert said.status != 0
    assert named in said.text
    assert not (tmp_path.parent / "evil.py").exists()


@pytest.fixture(scope="module")
def typed(stack: StackDesk) -> str:
    version = stack.push(stack.bundle("typed", {"vitrine.yaml": GOOD, "model.py": SCRIPT}))
    reference: str = version["reference"]
    return reference


@pytest.fixture(scope="module")
def picture(stack: StackDesk) -> str:
    version = stack.push(stack.bundle("picture", {"vitrine.yaml": PICTURE, "model.py": SCRIPT}))
    reference: str = version["reference"]
    return reference


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("words", 3), ("words", "x"), ("words", "x" * 11), ("words", ["a"]), ("words", {"base64": "YQ=="})),
        *(("count", "three"), ("count", 2.5), ("count", 0), ("count", 10), ("count", True), ("count", 1e400)),
        *(("kind", "blue"), ("kind", 1), ("unknown", 1), ("__proto__", {})),
    ],
)
def test_wrong_values_are_refused_by_name(stack: StackDesk, typed: str, name: str, value: Any) -> None:
    body = json.dumps({"inputs": {name: value}}).encode()
    with stack.api() as api:
        answer = api.post(
            f"/versions/{typed.replace('@', '/')}/runs",
            content=body,
            headers={"Content-Type": "application/json"},
        )
    assert_problem(answer, 422, name)


def test_the_command_line_names_the_wrong_input(stack: StackDesk, typed: str) -> None:
    said = stack.vitrine("run", typed, "-i", "count=many", status=None)
    assert said.status != 0
    assert "count" in said.text
    said = stack.vitrine("run", typed, "-i", "picture=@/no/such/file", status=None)
    assert said.status != 0
    assert "/no/such/file" in said.text


def png_header(width: int, height: int) -> bytes:
    """Return a small PNG file that claims to be `width` x `height`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(4096))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def small_png() -> bytes:
    made = io.BytesIO()
    Image.new("L", (4, 4)).save(made, "PNG")
    return made.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF", b"<svg onload='alert(1)'/>", small_png() + bytes(100_000)],
    ids=["empty", "cut", "not a picture", "too many bytes"],
)
def test_bad_pictures_are_refused(stack: StackDesk, picture: str, content: bytes) -> None:
    path = f"/versions/{picture.replace('@', '/')}/runs"
    with stack.api() as api:
        answer = api.post(path, files={"input.picture": ("picture.png", content, "image/png")})
        assert_problem(answer, 422, "picture")
        good = {"input.picture": ("picture.png", small_png(), "image/png")}
        run = api.post(path, files=good, headers={"Prefer": "wait=60"}).json()
    assert run["state"] == "succeeded", run


def test_a_picture_of_too_many_pixels_is_not_unpacked(stack: StackDesk, digits: Digits) -> None:
    bomb = {"input.image": ("image.png", png_header(60_000, 60_000), "image/png")}
    with stack.api() as api:
        path = f"/versions/{digits.version['reference'].replace('@', '/')}/runs"
        answer = api.post(path, files=bomb, headers={"Prefer": "wait=60"})
    run = answer.json()
    assert (run["state"], run["reason"]) == ("failed", "input_invalid"), answer.text
    assert "image" in run["message"]
    after = stack.run(digits.version["reference"], image={"example": "samples/two.png"})
    assert after["outputs"][0]["value"]["label"] == "2"


def test_a_file_input_takes_files_alone(stack: StackDesk, picture: str) -> None:
    path = f"/versions/{picture.replace('@', '/')}/runs"
    foreign = {"digest": f"sha256:{'1' * 64}", "size": 3, "media_type": "image/png", "filename": "a.png"}
    with stack.api() as api:
        for value in ("text", 3, None, {}, {"base64": "!"}, foreign, {"example": "../../etc/passwd"}):
            assert_problem(api.post(path, json={"inputs": {"picture": value}}), 422, "picture")
        assert_problem(api.post(path, json={"inputs": {}}), 422, "picture")
        assert_problem(api.post(path, json=[1]), 422, "")
        broken = api.post(path, content=b"{", headers={"Content-Type": "application/json"})
        assert_problem(broken, 422, "")


def test_unknown_expired_and_revoked_links(stack: StackDesk, typed: str) -> None:
    expiring = stack.share(typed, expires="1s")
    revoked = stack.share(typed)
    used_up = stack.share(typed, max_runs=1)
    with stack.api() as api:
        api.delete(f"/links/{revoked['id']}").raise_for_status()
    with stack.api(token=None) as nobody:

        def start(token: str) -> httpx.Response:
            return nobody.post(f"/links/{token}/runs", json={"inputs": {}}, headers={"Prefer": "wait=60"})

        assert_problem(start("A" * 22), 404, "link")
        assert_problem(start(revoked["token"]), 410, "link")
        assert start(used_up["token"]).json()["state"] == "succeeded"
        assert start(used_up["token"]).status_code in {409, 410, 429}
        gone = lambda: nobody.get(f"/links/{expiring['token']}").status_code == 410  # noqa: E731
        eventually(gone, "the link expires")
        assert_problem(start(expiring["token"]), 410, "link")


def test_a_version_that_cannot_be_built_says_why_and_does_not_run(stack: StackDesk) -> None:
    files = {"vitrine.yaml": GOOD.replace("typed", "unbuilt"), "model.py": SCRIPT}
    text = "# models\nno-such-package-of-vitrine==1.2.3\n"
    package = "package: {type: pip, requirements_file: requirements.txt}\n"
    folder = stack.bundle("unbuilt", {**files, "requirements.txt": text})
    (folder / "vitrine.yaml").write_text(files["vitrine.yaml"] + package)
    said = stack.vitrine("push", folder, status=1)
    assert "no-such-package-of-vitrine" in said.text
    assert "Traceback" not in said.text
    with stack.api() as api:
        version = api.get("/versions/owner/unbuilt/latest").json()
        assert version["state"] == "build_failed"
        assert version["build_problem"]["culprit"]
        answer = api.post("/versions/owner/unbuilt/1/runs", json={"inputs": {}})
        assert_problem(answer, 409, "")
    refused = stack.vitrine("run", version["reference"], status=1)
    assert "build" in refused.text or "built" in refused.text


@pytest.mark.parametrize("path", ["/api/v1/login", "/api/v1/versions", "/login", "/api/v1/links/abc/runs"])
def test_a_huge_body_is_refused_before_it_is_read(stack: StackDesk, path: str) -> None:
    head, answer = exchange(stack, path, f"Content-Length: {10**12}", b"")
    assert head.startswith("HTTP/1.1 413"), head
    assert b"larger" in answer or b"limit" in answer


def test_a_huge_chunked_body_is_refused_while_it_grows(stack: StackDesk) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head, _ = exchange(stack, "/api/v1/login", "Transfer-Encoding: chunked", chunk * 20)
    assert head.startswith("HTTP/1.1 413"), head


def exchange(stack: StackDesk, path: str, header: str, body: bytes) -> tuple[str, bytes]:
    """Send the head of a request and the beginning of its body; return the answer's head and body."""
    url = httpx.URL(stack.url)
    lines = (f"POST {path} HTTP/1.1", f"Host: {url.host}", "Content-Type: application/json", header)
    with socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode() + body)
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            assert part, "the connection was closed without an answer"
            received += part
        head, _, rest = received.partition(b"\r\n\r\n")
        size = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        while len(rest) < size:
            rest += connection.recv(65536)
    return head.decode(), rest
