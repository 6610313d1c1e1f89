"""Script models on a real runner: inputs, outputs, reasons, warmth."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import nats

from runner_site import Site, value_of
from vitrine_common.documents import Build, BuildProblem
from vitrine_common.messages import BuildStart
from vitrine_common.states import BuildState, Reason, RunState
from vitrine_common.store import Database
from vitrine_runner.conditions import harness_digest

GREET = "import sys; print('hello', *sys.argv[1:])"
FLAGS = {"model": {"command": "python main.py", "input": {"type": "flag"}}}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cfc0f01f0005000201"
    "0de4b5a30000000049454e44ae426082"
)


async def test_a_run_is_cold_first_and_warm_in_the_same_worker_after(site: Site) -> None:
    host = await site.start()
    digest = await site.push({**FLAGS, "inputs": {"name": "text"}}, {"main.py": GREET})

    cold = await site.run(digest, {"name": "Ada"})
    pids = host.pids
    warm = await site.run(digest, {"name": "--Bob"})

    assert (cold.state, cold.cold, value_of(cold)) == (RunState.SUCCEEDED, True, "hello --name Ada\n")
    assert (warm.state, warm.cold, value_of(warm)) == (RunState.SUCCEEDED, False, "hello --name=--Bob\n")
    assert host.pids == pids
    assert len(pids) == 1
    assert warm.attempt == 1
    assert warm.log_tail == "hello --name=--Bob\n"
    assert warm.exit_code == 0
    assert warm.finished_at is not None
    assert warm.conditions == cold.conditions
    assert warm.conditions is not None
    assert (warm.conditions.engine, warm.conditions.harness) == ("process", harness_digest())
    for value in warm.timings.model_dump().values():
        assert value is not None


async def test_a_file_goes_in_and_a_picture_comes_out(site: Site) -> None:
    await site.start()
    code = """
import pathlib
out = pathlib.Path("results"); out.mkdir()
(out / "seen.png").write_bytes(pathlib.Path("data/input.png").read_bytes())
(out / "fake.png").write_bytes(b"<html><script>alert(1)</script></html>")
"""
    digest = await site.script(
        code,
        model={
            "input": {"type": "download", "download_destination": "data/input.png"},
            "output": {"path": "results/", "type": "png"},
        },
    )
    run = await site.run(digest, {"input": await site.upload(PNG, "image/png", "mine.png")})

    assert run.state is RunState.SUCCEEDED, run
    fake, seen = sorted(run.outputs, key=lambda output: output.filename or "")
    assert (seen.name, seen.type, seen.media_type, seen.filename) == (
        "output",
        "image",
        "image/png",
        "seen.png",
    )
    assert seen.digest is not None
    assert await site.blobs.get_bytes(seen.digest, 1000) == PNG
    assert (fake.type, fake.media_type) == ("file", "text/plain")


async def test_outputs_have_their_declared_types(site: Site) -> None:
    await site.start()
    code = """
import json
open("score.txt", "w").write("so much:\\n0.75\\n")
open("data.json", "w").write(json.dumps({"a": [1, 2]}))
open("weights.bin", "wb").write(bytes(range(256)))
print(json.dumps({"cat": 0.2, "dog": 0.8}))
"""
    digest = await site.script(
        code,
        outputs={
            "animal": {"type": "labels"},
            "score": {"type": "number", "path": "score.txt"},
            "data": {"type": "json", "path": "data.json"},
            "weights": {"type": "file", "path": "weights.bin"},
            "absent": {"type": "file", "path": "absent.bin", "required": False},
        },
    )
    run = await site.run(digest)

    assert [output.name for output in run.outputs] == ["animal", "score", "data", "weights"]
    labels = [{"label": item["label"], "score": item["score"]} for item in value_of(run, "animal")]
    assert labels == [{"label": "dog", "score": 0.8}, {"label": "cat", "score": 0.2}]
    assert value_of(run, "score") == 0.75
    assert run.outputs[2].value == '{"a":[1,2]}'
    assert run.outputs[3].size == 256
    assert run.outputs[3].media_type == "application/octet-stream"


async def test_each_failure_has_its_reason(site: Site) -> None:
    await site.start(output_bytes=1 << 20, log_bytes=1 << 16)
    small = {"memory": "96Mi", "disk": "16Mi", "timeout": "1s", "processes": 40}
    programs = {
        "import sys; sys.exit('the flux is wrong')": Reason.USER_ERROR,
        "while True: pass": Reason.TIMEOUT,
        "x = bytearray(1 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1": Reason.OUT_OF_MEMORY,
        "print('x' * (1 << 20))": Reason.OUTPUT_TOO_LARGE,
    }
    digests = [await site.script(code, resources=small) for code in programs]
    runs = await asyncio.gather(*(site.run(digest) for digest in digests))

    assert [run.reason for run in runs] == list(programs.values())
    assert {run.state for run in runs} == {RunState.FAILED}
    assert {run.attempt for run in runs} == {1}
    assert runs[0].exit_code == 1
    assert "the flux is wrong" in runs[0].log_tail
    assert all(run.message for run in runs)


async def test_an_output_that_is_not_what_was_promised_is_the_authors_error(site: Site) -> None:
    await site.start()
    digest = await site.script("print('no json')", outputs={"data": "json"})
    run = await site.run(digest)
    assert (run.state, run.reason) == (RunState.FAILED, Reason.USER_ERROR)
    assert "`data`" in run.message


async def test_no_run_sees_what_another_wrote(site: Site) -> None:
    await site.start()
    code = "f = open('weights.txt', 'r+'); print(f.read()); f.seek(0); f.write('spoiled')"
    spec = {"model": {"command": "python main.py"}}
    digest = await site.push(spec, {"main.py": code, "weights.txt": "precious"})
    first, second = await site.run(digest), await site.run(digest)
    assert (value_of(first), value_of(second)) == ("precious\n", "precious\n")


async def test_a_packed_model_is_unpacked(site: Site) -> None:
    await site.start()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("gan/run.py", "print(open('weights.txt').read())")
        archive.writestr("gan/weights.txt", "cycle")
    model = {"fileType": ".zip", "path": "source/gan", "command": "python run.py"}
    digest = await site.push({"model": model}, {"source/gan.zip": packed.getvalue()})
    assert value_of(await site.run(digest)) == "cycle\n"


async def test_an_archive_that_climbs_out_is_refused(site: Site) -> None:
    await site.start()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../escaped.py", "print(1)")
    model = {"fileType": ".zip", "path": "gan", "command": "python run.py"}
    digest = await site.push({"model": model}, {"gan.zip": packed.getvalue()})
    run = await site.run(digest)
    assert (run.state, run.reason) == (RunState.FAILED, Reason.USER_ERROR)
    assert "escaped.py" in run.message
    assert not list(site.root.rglob("escaped.py"))


async def test_an_idle_worker_is_stopped(site: Site) -> None:
    host = await site.start(idle_seconds=0.3)
    digest = await site.script(GREET)
    await site.run(digest)
    assert len(host.pool.workers) == 1
    async with asyncio.timeout(20):
        while host.pool.workers:
            await asyncio.sleep(0.05)
    assert (await site.run(digest)).cold is True


async def test_versions_share_a_host_and_the_least_used_makes_room(site: Site) -> None:
    host = await site.start(memory_bytes=600 << 20)
    digests = [await site.script(f"print({number})", resources={"memory": "256Mi"}) for number in range(3)]
    runs = [await site.run(digest) for digest in digests]
    assert [value_of(run) for run in runs] == ["0\n", "1\n", "2\n"]
    assert {worker.need.version_digest for worker in host.pool.workers} == set(digests[1:])


@asynccontextmanager
async def builder_that_refuses(site: Site, words: str) -> AsyncIterator[None]:
    """Answer what builders are asked for with a failure, as long as the block lasts."""
    connection = await nats.connect(site.settings.nats.url)
    database = Database(site.settings.mongo, "builder", site.bus)
    asked = await connection.jetstream().pull_subscribe("build.start", durable="refusing")

    async def refuse() -> None:
        while True:
            with suppress(TimeoutError):
                for message in await asked.fetch(timeout=30):
                    command = BuildStart.model_validate(json.loads(message.data)["payload"])
                    problem = BuildProblem(reason="lock_failed", message=words)
                    fields = {"id": command.build_id, "request": command.request, "problem": problem}
                    await database.collection(Build).insert(Build(**fields, state=BuildState.FAILED))
                    await message.ack()

    refusing = asyncio.create_task(refuse())
    try:
        yield
    finally:
        refusing.cancel()
        await asyncio.wait([refusing])
        database.close()
        await connection.close()


async def test_a_missing_environment_is_named(site: Site) -> None:
    await site.start(max_attempts=2)
    absent = "sha256:" + "f" * 64
    async with builder_that_refuses(site, "Its packages are no longer published."):
        run = await site.run(await site.script(GREET), environment_digest=absent)
    assert (run.state, run.reason, run.attempt) == (RunState.FAILED, Reason.PLATFORM_ERROR, 2)
    assert absent in run.message
    assert run.message.endswith("Its packages are no longer published.")


async def test_the_program_continues_the_requests_trace(site: Site) -> None:
    await site.start()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    trace = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    run = await site.run(await site.script("import os; print(os.environ['TRACEPARENT'])"), trace=trace)
    assert value_of(run).split("-")[1] == trace_id
