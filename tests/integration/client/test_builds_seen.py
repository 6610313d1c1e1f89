"""Real builders behind the real api: what command line and page tell of a build, even when its builder dies.

And what `vitrine env` gives away: files that make the same environment without Vitrine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_instance import Account, Instance
from builder_desk import Desk
from docker_daemon import DockerDaemon
from vitrine_common.documents import Build, Environment

Type = Callable[..., Awaitable[Any]]
FILES = {
    "vitrine.yaml": "name: seen\nmodel:\n  command: python run.py\npackage:\n  type: pip\n",
    "run.py": "print('seen')\n",
}


@pytest.fixture(scope="module")
async def desk(api: Instance, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Builders on the servers of the api."""
    root, platform = tmp_path_factory.mktemp("builder"), api.services.platform
    given = platform.settings
    environment = {
        "VITRINE_NATS_URL": given.nats.url,
        "VITRINE_MONGO_URL": given.mongo.url,
        "VITRINE_MONGO_DATABASE": given.mongo.database,
        "VITRINE_S3_ENDPOINT": given.s3.endpoint,
        "VITRINE_S3_ACCESS_KEY": given.s3.access_key,
        "VITRINE_S3_SECRET_KEY": given.s3.secret_key.get_secret_value(),
        "VITRINE_S3_BUCKET": given.s3.bucket,
        "VITRINE_ENVIRONMENTS_DIR": str(root / "environments"),
        "VITRINE_WORK_LEASE_SECONDS": "3",
        "VITRINE_WORK_REAP_SECONDS": "0.3",
        "VITRINE_BUILDER_RETRY_SECONDS": "0.1",
        "VITRINE_BUILDER_FREE_BYTES": str(1 << 20),
    }
    desk = Desk(root, environment, platform.bus, platform.blobs, api.database_as("api"), root / "builder.log")
    yield desk
    await desk.stop()


def directory(place: Path, requirements: str) -> Path:
    place.mkdir()
    for name, text in FILES.items():
        (place / name).write_text(text)
    (place / "requirements.txt").write_text(requirements)
    spec = f"{FILES['vitrine.yaml']}  requirements_file: ./requirements.txt\n"
    (place / "vitrine.yaml").write_text(spec)
    return place


async def browser_of(api: Instance, someone: Account) -> httpx.AsyncClient:
    browser = api.client(follow_redirects=True)
    found = re.search(r'name="csrf_token" value="([^"]+)"', (await browser.get("/login")).text)
    assert found
    entered = {"csrf_token": found[1], "email": someone.email, "password": someone.password}
    assert (await browser.post("/login", data=entered)).status_code == 200
    return browser


async def building(desk: Desk, *, at: set[str]) -> Build:
    """The build that is under way, once it is at one of these steps."""
    builds = desk.database.collection(Build)
    async with asyncio.timeout(60):
        while True:
            for build in await builds.find({"state": "building"}, limit=10):
                if build.step in at:
                    return build
            await asyncio.sleep(0.02)


async def test_command_line_and_page_go_on_with_the_next_builder(
    api: Instance, author: Account, command: Type, desk: Desk, tmp_path: Path
) -> None:
    doomed = await desk.start()
    browser = await browser_of(api, author)
    folder = directory(tmp_path / "numpy", "numpy==2.4.6\n")
    pushing: asyncio.Future[Any] = asyncio.ensure_future(command("push", str(folder), "--json"))
    build = await building(desk, at={"download", "unpack", "compile"})
    watching = asyncio.create_task(browser.get(f"/builds/{build.id}/events", timeout=120))
    doomed.kill()
    doomed.wait()
    assert not pushing.done(), "killed too late"
    await desk.start()
    said = await pushing
    assert said.status == 0, said.err
    assert said.json["state"] == "ready"
    seen = (await watching).text
    assert "event: done" in seen
    assert 'data-build-state="succeeded"' in seen.rpartition("event: done")[2]
    ended = await desk.database.collection(Build).get(build.id)
    assert ended.attempt == 2


async def test_both_tell_the_culprit_and_why(
    api: Instance, author: Account, command: Type, desk: Desk, tmp_path: Path
) -> None:
    if not [process for process in desk.processes if process.poll() is None]:
        await desk.start()
    folder = directory(tmp_path / "wrong", "six==99.0\n")
    said = await command("push", str(folder))
    assert said.status == 1
    assert "six==99.0" in said.err
    browser = await browser_of(api, author)
    page = (await browser.get(f"/models/{author.name}/seen/versions/1")).text
    shown = re.search(r"Why it failed</p><p[^>]*>([^<]*)", page)
    assert shown
    assert "six==99.0" in shown[1]
    assert "Change it and push again" in page
    reference = f"{author.name}/seen@{re.search(r'@([0-9]+) could not be built', said.err)[1]}"  # type: ignore[index]
    told = await command("env", "show", reference)
    assert told.status == 1
    assert "was not made. requirements.txt line 1: There is no version `six==99.0`" in told.err


@pytest.fixture
async def environment(author: Account, command: Type, desk: Desk, tmp_path: Path) -> str:
    """A version with an environment; its reference."""
    if not [process for process in desk.processes if process.poll() is None]:
        await desk.start()
    said = await command("push", str(directory(tmp_path / "six", "six==1.17.0\nidna==3.10\n")), "--json")
    assert said.status == 0, said.err
    return str(said.json["reference"])


async def test_an_environment_is_shown_and_compared(environment: str, command: Type, tmp_path: Path) -> None:
    shown = await command("env", "show", environment, "--json")
    assert [(each["name"], each["version"]) for each in shown.json["packages"]] == [
        ("idna", "3.10"),
        ("six", "1.17.0"),
    ]
    assert {"resolve", "total"} <= set(shown.json["timings_ms"])
    words = await command("env", "show", environment)
    assert "2 layers" in words.out
    assert "six==1.17.0" in words.out
    more = directory(tmp_path / "more", "six==1.17.0\nidna==3.11\nsniffio==1.3.1\n")
    other = (await command("push", str(more), "--json")).json["reference"]
    found = (await command("env", "diff", environment, other, "--json")).json
    assert [(each["name"], each["before"], each["after"]) for each in found["packages"]] == [
        ("idna", "3.10", "3.11"),
        ("sniffio", None, "1.3.1"),
    ]
    assert (found["layers_shared"], found["layers_added"], found["layers_removed"]) == (1, 2, 1)
    words = await command("env", "diff", environment, other)
    assert "~ idna 3.10 → 3.11" in words.out
    assert "+ sniffio 1.3.1" in words.out


async def test_what_is_exported_installs_the_same_versions_without_vitrine(
    environment: str, command: Type, desk: Desk, tmp_path: Path
) -> None:
    said = await command("env", "export", environment, "-o", "out", "--json")
    assert sorted(Path(path).name for path in said.json["files"]) == ["Dockerfile", "requirements.txt"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    target = tmp_path / "target"
    finished = await asyncio.to_thread(
        subprocess.run,
        [*pip, "--require-hashes", "--target", str(target), "-r", str(tmp_path / "out" / "requirements.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in target.glob("*.dist-info")) == [
        "idna-3.10.dist-info",
        "six-1.17.0.dist-info",
    ]
    for flag, name in (("--sbom", "sbom.cdx.json"), ("--lock", "requirements.lock")):
        assert (await command("env", "export", environment, flag)).status == 0
        assert "six" in (tmp_path / name).read_text()
    assert (await command("env", "export", environment, "--provenance")).status == 0
    assert json.loads((tmp_path / "provenance.intoto.json").read_bytes())["signatures"]
    assert (await command("env", "export", environment, "--sbom", "--lock")).status == 2


async def test_the_dockerfile_makes_it_too(
    environment: str, command: Type, desk: Desk, tmp_path: Path, docker_daemon: DockerDaemon
) -> None:
    assert (await command("env", "export", environment, "-o", "out")).status == 0
    wheels = tmp_path / "out" / "wheels"
    # The daemon's containers have no network here: the build takes its wheels from the folder.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    await asyncio.to_thread(
        subprocess.run,
        [*pip, "-d", str(wheels), "-r", str(tmp_path / "out" / "requirements.txt")],
        check=True,
    )
    given = {
        "BASE": docker_daemon.base_image,
        "PIP_FIND_LINKS": "/tmp/environment/wheels",
        "PIP_NO_INDEX": "1",
    }
    with contextlib.closing(docker_daemon.client()) as client:
        image, _ = await asyncio.to_thread(
            client.images.build, path=str(tmp_path / "out"), buildargs=given, network_mode="none", rm=True
        )
        script = "import six, idna; print(six.__version__, idna.__version__)"
        said = client.containers.run(image.id, ["python", "-c", script], remove=True, network_mode="none")
        client.images.remove(image.id)
    assert said.split() == [b"1.17.0", b"3.10"]
    assert await desk.database.collection(Environment).find({}, limit=1)
