"""What the docker engine alone promises: which image, which containers, and what it leaves to the daemon."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from docker_daemon import DockerDaemon
from sandboxes import MIB, SMALL, Bench, perform, python
from vitrine_engine import OnnxModel, Reason, SandboxSpec, ScriptModel, StartError, open_engine
from vitrine_engine.docker import DockerEngine, cell
from vitrine_engine.docker.container import ENGINE_LABEL
from vitrine_engine.docker.images import WITH_BYTECODE
from vitrine_engine.docker.sandbox import DockerSandbox


@pytest.fixture
def client(docker_daemon: DockerDaemon) -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker_daemon.client()) as found:
        yield found


@pytest.fixture
async def bench(docker_daemon: DockerDaemon, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose engine is this test's own."""
    engine = DockerEngine(tmp_path / "state", url=docker_daemon.url, base_image=docker_daemon.base_image)
    yield Bench(engine, tmp_path)
    await engine.aclose()


@contextlib.contextmanager
def variant(client: docker.DockerClient, base: str, command: str) -> Iterator[str]:
    """An image that differs from the base by what a command does."""
    made = client.containers.create(base, ["sh", "-c", command], network_mode="none")
    made.start()
    assert made.wait()["StatusCode"] == 0, made.logs()
    image = made.commit(repository="vitrine-test/variant", tag="1")
    made.remove()
    yield "vitrine-test/variant:1"
    client.images.remove(image.id, force=True)


def inspected(client: docker.DockerClient, sandbox: object) -> dict[str, Any]:
    assert isinstance(sandbox, DockerSandbox)
    found: dict[str, Any] = client.api.inspect_container(sandbox.containers[0])
    return found


async def test_containers_are_closed(bench: Bench, client: docker.DockerClient) -> None:
    found = inspected(client, await bench.script())
    host = found["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["PidMode"]) == ("none", "private", "")
    assert (host["Privileged"], host["ReadonlyRootfs"], host["CapDrop"]) == (False, True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges"], "Docker's own seccomp profile stays in force"
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["CapAdd"]
    assert not host["Devices"]
    assert not host["DeviceRequests"]
    assert int(found["Config"]["User"].partition(":")[0]) > 65536
    assert not [mount for mount in found["Mounts"] if mount["RW"]]
    assert not [mount for mount in found["Mounts"] if "docker.sock" in mount["Source"]]


async def test_an_image_holds_its_environment(
    bench: Bench, client: docker.DockerClient, docker_daemon: DockerDaemon
) -> None:
    make = "mkdir -p /env/bin && ln -s /opt/python/bin/python3.11 /env/bin/python && echo made > /env/mark"
    with variant(client, docker_daemon.base_image, make) as image:
        sandbox = await bench.script(image=image, environment=bench.bundle({"mark": "shown"}))
        assert isinstance(sandbox, DockerSandbox)
        assert sandbox.image_digest == client.images.get(image).id
        ran = await perform(sandbox, *python("import sys; print(open('/env/mark').read(), sys.executable)"))
        assert (ran.outcome.reason, ran.stdout) == (None, "made\n /env/bin/python\n")
        await sandbox.stop()


async def test_an_image_with_bytecode_is_preferred(
    bench: Bench, client: docker.DockerClient, docker_daemon: DockerDaemon
) -> None:
    plain = client.images.get(docker_daemon.base_image)
    plain.tag("vitrine-test/variant", "2")
    try:
        with variant(client, docker_daemon.base_image, "mkdir -p /env") as image:
            assert client.images.get(image).tag("vitrine-test/variant", f"2{WITH_BYTECODE}")
            sandbox = await bench.script(image="vitrine-test/variant:2")
            assert isinstance(sandbox, DockerSandbox)
            assert sandbox.image_digest == client.images.get(image).id
            await sandbox.stop()
        sandbox = await bench.script(image="vitrine-test/variant:2")
        assert isinstance(sandbox, DockerSandbox)
        assert sandbox.image_digest == plain.id
    finally:
        client.images.remove("vitrine-test/variant:2", noprune=True)


async def test_without_its_image_an_environment_is_shown_in_the_base(bench: Bench) -> None:
    sandbox = await bench.script(image="vitrine/env:none", environment=bench.bundle({"mark": "shown"}))
    assert (await perform(sandbox, "cat", "/env/mark")).stdout == "shown"
    with pytest.raises(StartError, match="no image vitrine/env:none"):
        await bench.start(image="vitrine/env:none")
    with pytest.raises(StartError, match="VITRINE_BUILDER_IMAGES=docker"):
        await bench.start(system=bench.bundle({}))


async def test_a_base_gets_its_python_where_sandboxes_look(
    client: docker.DockerClient, docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    with variant(client, docker_daemon.base_image, "rm /opt/python") as image:
        engine = DockerEngine(tmp_path / "state", url=docker_daemon.url, base_image=image)
        bench = Bench(engine, tmp_path)
        assert (await perform(await bench.script(), *python("print(1)"))).stdout == "1\n"
        await engine.aclose()
        for made in client.images.list(name="vitrine/base"):
            client.images.remove(made.id, force=True)
    with variant(client, docker_daemon.base_image, "rm /opt/python /usr/bin/python3.11") as image:
        engine = DockerEngine(tmp_path / "state", url=docker_daemon.url, base_image=image)
        with pytest.raises(StartError, match=r"has no python3\.11"):
            await engine.probe()
        await engine.aclose()
    assert not client.containers.list(all=True, filters={"name": "-base-"})


async def test_an_unknown_base_says_what_to_do(docker_daemon: DockerDaemon, tmp_path: Path) -> None:
    missing = "127.0.0.1:9/nobody/has:1"
    engine = DockerEngine(tmp_path / "state", url=docker_daemon.url, base_image=missing)
    with pytest.raises(StartError, match=r"nobody/has:1 is not in the .*VITRINE_RUNNER_BASE_IMAGE"):
        await engine.probe()
    await engine.aclose()


async def test_runs_side_by_side_share_the_limits(bench: Bench) -> None:
    limits = replace(SMALL, memory_bytes=128 * MIB)
    eater = python("x = bytearray(90_000_000); print('had')")
    alone, shared = await bench.script(limits=limits), await bench.script(limits=limits, max_runs=2)
    assert (await perform(alone, *eater)).stdout == "had\n"
    assert (await perform(shared, *eater)).outcome.reason is Reason.OUT_OF_MEMORY


async def test_a_loaded_model_has_all_of_the_limits(
    bench: Bench, client: docker.DockerClient, onnx_environment: Path, onnx_models: Path
) -> None:
    limits = replace(SMALL, memory_bytes=512 * MIB, processes=64)
    bundle = bench.bundle({"model.onnx": (onnx_models / "sum.onnx").read_bytes()})
    fields = {"environment": onnx_environment, "bundle": bundle, "limits": limits}
    alone, shared = await bench.start(**fields), await bench.start(**fields, max_runs=4)
    before = inspected(client, shared)["HostConfig"]
    for model in (alone, shared):
        await model.load(OnnxModel(path="model.onnx"))
    first, second = (inspected(client, model)["HostConfig"] for model in (alone, shared))
    for field in ("Memory", "MemorySwap", "PidsLimit", "NanoCpus"):
        assert before[field] < first[field] == second[field]


async def test_limits_hold_where_only_the_daemon_can_measure(
    bench: Bench, onnx_environment: Path, onnx_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a daemon whose processes and control groups are out of sight: a service in a container."""
    monkeypatch.setattr(cell, "local_group", lambda *_: None)
    monkeypatch.setattr(cell, "local_process", lambda *_: None)
    sandbox = await bench.script(limits=replace(SMALL, memory_bytes=96 * MIB))
    eaten = await perform(sandbox, *python("x = []\nwhile True: x.append(bytearray(8_000_000))"))
    assert eaten.outcome.reason is Reason.OUT_OF_MEMORY
    assert (await perform(sandbox, "sleep", "600", wall_seconds=0.3)).outcome.reason is Reason.TIMEOUT
    ended = (await perform(sandbox, "true")).outcome
    assert ended.reason is None
    assert ended.peak_memory_bytes
    usage = await sandbox.usage()
    assert usage.memory_bytes > 0
    assert usage.processes > 0
    inputs = [{"name": "count", "type": "number", "tensor": {"name": "shape"}}]
    outputs = [{"name": "total", "type": "number", "tensor": {}}]
    model, _ = await bench.onnx(onnx_environment, onnx_models / "expand.onnx", inputs, outputs)
    big = (await perform(model, values={"count": 400_000_000})).outcome
    assert big.reason is Reason.OUT_OF_MEMORY
    assert not model.alive


async def test_what_a_killed_engine_left_is_removed(
    client: docker.DockerClient, docker_daemon: DockerDaemon, tmp_path: Path
) -> None:
    engine = DockerEngine(tmp_path / "state", url=docker_daemon.url, base_image=docker_daemon.base_image)
    bench = Bench(engine, tmp_path)
    tag = inspected(client, await bench.script())["Config"]["Labels"][ENGINE_LABEL]
    await engine.aclose()
    sleeper = ["sleep", "600"]
    image, network = docker_daemon.base_image, "none"
    own, other = (
        client.containers.create(image, sleeper, network_mode=network, labels={ENGINE_LABEL: label})
        for label in (tag, "another")
    )
    own.start()
    engine = DockerEngine(tmp_path / "state", url=docker_daemon.url, base_image=docker_daemon.base_image)
    await engine.probe()
    await engine.aclose()
    labels = (f"{ENGINE_LABEL}={tag}", f"{ENGINE_LABEL}=another")
    left = [client.containers.list(all=True, filters={"label": label}) for label in labels]
    assert [[found.id for found in some] for some in left] == [[], [other.id]]
    other.remove(force=True)


async def test_stopping_in_the_middle_of_a_start_leaves_nothing(
    bench: Bench, client: docker.DockerClient
) -> None:
    tag = inspected(client, whole := await bench.start())["Config"]["Labels"][ENGINE_LABEL]
    await whole.stop()
    for patience in (0.0, 0.02, 0.06, 0.15):
        starting = asyncio.ensure_future(bench.start())
        await asyncio.sleep(patience)
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled():
            await starting.result().stop()
    assert client.containers.list(all=True, filters={"label": f"{ENGINE_LABEL}={tag}"}) == []
    assert (await perform(await bench.script(), "true")).outcome.reason is None


async def test_no_daemon_is_named_with_a_way_out(tmp_path: Path) -> None:
    engine = DockerEngine(tmp_path, url=f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(StartError, match=r"nobody\.sock.*DOCKER_HOST"):
        await engine.start(SandboxSpec(id="a"))
    await engine.aclose()


async def test_auto_takes_docker_where_the_process_engine_cannot_work(
    docker_daemon: DockerDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_daemon.url)
    first, isolation = await open_engine("auto", tmp_path / "a", docker_daemon.base_image)
    await first.aclose()
    assert isolation.engine == "process"
    monkeypatch.setenv("PATH", str(tmp_path))
    second, isolation = await open_engine("auto", tmp_path / "a", docker_daemon.base_image)
    sandbox = await second.start(SandboxSpec(id="a", limits=SMALL))
    await sandbox.load(ScriptModel())
    assert (await perform(sandbox, "true")).outcome.reason is None
    await second.aclose()
    assert isolation.engine == "docker"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(StartError, match=r"apt-get install bubblewrap.*DOCKER_HOST"):
        await open_engine("auto", tmp_path / "a", docker_daemon.base_image)
