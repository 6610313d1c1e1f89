"""The embedded stack from start to end, with real servers."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import stat
from collections.abc import Callable
from urllib.parse import urlsplit

import psutil
import pytest
from minio import Minio
from motor.motor_asyncio import AsyncIOMotorClient

from stack_runs import StackRun, alive, eventually
from vitrine.stack.control import stack_state

Make = Callable[..., StackRun]
SERVERS = {"nats", "mongo", "s3"}


def _healthy(run: StackRun) -> bool:
    return bool(run.state().get("state") == "healthy")


def _s3(run: StackRun, service: str = "one") -> Minio:
    seen = run.seen(service)
    place = urlsplit(seen["VITRINE_S3_ENDPOINT"])
    keys = seen["VITRINE_S3_ACCESS_KEY"], seen["VITRINE_S3_SECRET_KEY"]
    return Minio(place.netloc, *keys, secure=False, region="us-east-1")


def test_starts_everything_and_interrupt_leaves_nothing(stack: Make) -> None:
    run = stack(services=("one", "parent"))
    announced = run.start()
    assert announced["url"] == run.state()["url"]
    pids = run.pids()
    assert set(pids) == SERVERS | {"one", "parent"}
    assert all(alive(pid) for pid in pids.values())
    assert psutil.Process(pids["one"]).name() == "vitrine-one"
    for name in ("stack.json", "secrets.json", "nats.conf", "stack.lock"):
        assert stat.S_IMODE((run.data / name).stat().st_mode) == 0o600, name
    child = int((run.data / "child.pid").read_text())
    assert alive(child)

    assert run.signal(signal.SIGINT) == 0
    assert not [name for name, pid in pids.items() if alive(pid)]
    assert not alive(child), "a service's own child was left"
    assert run.state()["state"] == "stopped"
    # Services stop before the servers that they need.
    for name in ("one", "parent"):
        assert json.loads((run.data / f"stand_{name}.stopped").read_text()) == {
            "VITRINE_NATS_URL": True,
            "VITRINE_MONGO_URL": True,
            "VITRINE_S3_ENDPOINT": True,
        }


def test_no_secret_stands_in_a_command_line(stack: Make) -> None:
    run = stack(services=("one",))
    run.start()
    secrets = json.loads((run.data / "secrets.json").read_text())
    said = " ".join(" ".join(psutil.Process(pid).cmdline()) for pid in run.pids().values())
    for name in ("nats_password", "s3_secret_key", "api_secret_key"):
        assert secrets[name] not in said


@pytest.mark.parametrize("part", ["nats", "mongo", "s3", "one", "parent"])
def test_what_is_killed_starts_again(stack: Make, part: str) -> None:
    run = stack(services=("one", "parent"))
    run.start()
    before, ports = run.pids(), run.state()["ports"]
    child = int((run.data / "child.pid").read_text())
    psutil.Process(before[part]).kill()
    eventually(lambda: run.state()["parts"][part]["restarts"] == 1 and _healthy(run), f"{part} runs again")
    after = run.pids()
    assert after.pop(part) != before.pop(part)
    assert after == before, "only the killed part is started again"
    assert run.state()["ports"] == ports
    if part == "parent":
        assert not alive(child), "what the killed service had started was left"


def test_data_survives_a_killed_supervisor(stack: Make) -> None:
    run = stack(services=("one",))
    run.start()
    store = _s3(run)
    store.make_bucket("kept")
    store.put_object("kept", "object", io.BytesIO(b"bytes"), 5)
    pids = run.pids()
    assert run.process is not None
    run.process.kill()
    run.process.communicate()
    eventually(lambda: not any(alive(pid) for pid in pids.values()), "the kernel ends orphans")
    stopped = stack_state(run.data)
    assert stopped is not None
    assert stopped.state == "stopped"

    ports = run.state()["ports"]
    run.start()
    assert run.state()["ports"] == ports, "share links keep their address"
    assert _s3(run).get_object("kept", "object").read() == b"bytes"


async def test_documents_survive_a_restart(stack: Make) -> None:
    run = stack(services=("one",))
    for expected in (0, 1):
        run.start()
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(run.state()["mongo_url"])
        notes = client["vitrine"]["notes"]
        assert await notes.count_documents({}) == expected
        await notes.insert_one({"round": expected})
        client.close()
        assert run.signal(signal.SIGTERM) == 0


def test_a_second_stack_on_the_same_data_is_refused(stack: Make) -> None:
    run = stack(services=("one",))
    run.start()
    first, pids = run.process, run.pids()
    errors = run.refused()
    run.process = first
    assert first is not None
    assert f"process {first.pid}" in errors
    assert "vitrine down" in errors
    assert run.pids() == pids
    assert _healthy(run)


def test_a_port_in_use_is_refused(stack: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        errors = stack(services=("one",), options=("--port", str(port))).refused()
    assert f"Port {port} on 127.0.0.1 is in use" in errors
    assert "--port" in errors


def test_a_service_that_does_not_stay_up_is_shown_with_its_log(stack: Make) -> None:
    run = stack(services=("one", "broken"))
    errors = run.refused()
    assert "broken does not stay up" in errors
    assert "no such thing: the frobnicator" in errors
    assert run.state()["state"] == "stopped"
    assert not run.pids()


def test_stop_while_starting_leaves_nothing(stack: Make) -> None:
    run = stack(services=("one", "late"))
    run.spawn()
    eventually((run.data / "stand_late.environment").exists, "the late service runs")
    pids = run.pids()
    assert run.signal(signal.SIGTERM) == 0
    assert not [name for name, pid in pids.items() if alive(pid)]


def test_a_second_interrupt_does_not_wait(stack: Make) -> None:
    run = stack(services=("stubborn",))
    run.start()
    pids = run.pids()
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    eventually(lambda: run.state()["state"] == "stopping", "the stack stops")
    assert run.signal(signal.SIGINT) == 0
    assert not [name for name, pid in pids.items() if alive(pid)]


def test_services_can_be_processes_of_their_own(stack: Make) -> None:
    run = stack(services=("one",), options=("--no-fork",))
    run.start()
    assert psutil.Process(run.pids()["one"]).cmdline()[-1] == "stand_one"
    assert run.signal(signal.SIGINT) == 0


def test_supervisor_has_one_thread(stack: Make) -> None:
    """Forking a process with threads copies their locks as they happen to be."""
    run = stack(services=("one",))
    announced = run.start()
    assert psutil.Process(announced["pid"]).num_threads() == 1


def test_ctrl_c_in_a_terminal_reaches_the_supervisor_alone(stack: Make) -> None:
    run = stack(services=("one",))
    announced = run.start()
    groups = {os.getpgid(pid) for pid in run.pids().values()}
    assert os.getpgid(announced["pid"]) not in groups
    assert len(groups) == len(run.pids())
