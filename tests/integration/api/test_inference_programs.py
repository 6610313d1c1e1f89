"""The Open Inference Protocol for models that are run: values and files become tensors, both ways."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api_instance import PNG, SPEC, Account, Instance, api
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Output, RunRequest, ShareLink
from vitrine_common.states import Reason, RunState

__all__ = ["api"]

DECLARED: dict[str, Any] = {
    **SPEC,
    "name": "many",
    "inputs": [
        *SPEC["inputs"],
        {"name": "sure", "type": "boolean", "required": False},
        {"name": "style", "type": "choice", "choices": ["plain", "rhyme"], "required": False},
        {"name": "ratio", "type": "number", "required": False},
        {"name": "rows", "type": "json", "required": False},
    ],
    "outputs": [
        {"name": "said", "type": "text", "path": "stdout"},
        {"name": "size", "type": "number", "path": "size.txt"},
        {"name": "kind", "type": "label", "path": "kind.txt"},
        {"name": "kinds", "type": "labels", "path": "kinds.json"},
        {"name": "facts", "type": "json", "path": "facts.json"},
        {"name": "pictures", "type": "image", "path": "*.png"},
    ],
}
LABELS = [{"label": "cat", "score": 0.75, "index": 1}, {"label": "dog", "score": 0.25, "index": 0}]

Answer = Callable[[RunRequest], Any]


@pytest.fixture
async def ann(api: Instance) -> Account:
    return await api.account()


@pytest.fixture
async def many(api: Instance, ann: Account) -> dict[str, Any]:
    return await api.ready(ann, name="many", spec=DECLARED)


@asynccontextmanager
async def runner(api: Instance, version: dict[str, Any], **ended: Any) -> AsyncIterator[list[RunRequest]]:
    """What a runner would do with every run of a version; yields the requests that it saw."""
    seen: list[RunRequest] = []

    async def answer() -> None:
        requests = api.database_as("runner").collection(RunRequest)
        while True:
            for request in await requests.find({"version_id": version["id"]}, limit=100):
                if request.id not in {known.id for known in seen}:
                    seen.append(request)
                    await api.finish(request.id, **ended)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(answer())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def made(api: Instance) -> list[Output]:
    """One output of each kind; the pictures' bytes are stored."""
    pictures = [PNG + b"1", PNG + b"2"]
    for data in pictures:
        await api.platform.blobs.put_bytes(data)
    return [
        Output(name="said", type="text", value='"hello there"'),
        Output(name="size", type="number", value="3.5"),
        Output(name="kind", type="label", value=json.dumps(LABELS[0])),
        Output(name="kinds", type="labels", value=json.dumps(LABELS)),
        Output(name="facts", type="json", value='{"a":[1]}'),
        *(
            Output(
                name="pictures",
                type="image",
                digest=sha256_bytes(data),
                size=len(data),
                media_type="image/png",
                filename=f"secret-{index}.png",
            )
            for index, data in enumerate(pictures)
        ),
    ]


def tensor(name: str, kind: str, value: Any, /, **parameters: Any) -> dict[str, Any]:
    said = {"parameters": parameters} if parameters else {}
    return {"name": name, "datatype": kind, "shape": [1], "data": [value], **said}


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    return str(answer.json()["error"])


async def test_metadata_is_what_was_declared(ann: Account, many: dict[str, Any]) -> None:
    told = (await ann.client.get(f"/v2/models/{ann.name}~many")).json()
    assert {item["name"]: (item["datatype"], item["shape"]) for item in told["inputs"]} == {
        "text": ("BYTES", [1]),
        "image": ("BYTES", [1]),
        "count": ("INT64", [1]),
        "sure": ("BOOL", [1]),
        "style": ("BYTES", [1]),
        "ratio": ("FP64", [1]),
        "rows": ("BYTES", [1]),
    }
    assert {item["name"]: (item["datatype"], item["shape"]) for item in told["outputs"]} == {
        "said": ("BYTES", [1]),
        "size": ("FP64", [1]),
        "kind": ("BYTES", [1]),
        "kind.score": ("FP64", [1]),
        "kinds": ("BYTES", [-1]),
        "kinds.score": ("FP64", [-1]),
        "facts": ("BYTES", [1]),
        "pictures": ("BYTES", [-1]),
    }


async def test_tensors_become_values_and_files(api: Instance, ann: Account, many: dict[str, Any]) -> None:
    sent = [
        tensor("text", "BYTES", "hi"),
        tensor("count", "FP32", 4.0),
        tensor("sure", "BOOL", True),
        tensor("style", "BYTES", "rhyme"),
        tensor("ratio", "FP64", 0.5),
        {"name": "rows", "datatype": "INT32", "shape": [2, 2], "data": [1, 2, 3, 4]},
        tensor("image", "BYTES", base64.b64encode(PNG).decode(), encoding="base64", name="b.png"),
    ]
    async with runner(api, many, outputs=await made(api)) as seen:
        answer = await ann.client.post(f"/v2/models/{ann.name}~many/infer", json={"inputs": sent, "id": "7"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "7"
    image = {"digest": sha256_bytes(PNG), "size": len(PNG), "media_type": "image/png", "filename": "b.png"}
    assert json.loads(seen[0].inputs) == {
        "text": "hi",
        "count": 4,
        "sure": True,
        "style": "rhyme",
        "ratio": 0.5,
        "rows": [[1, 2], [3, 4]],
        "image": image,
    }
    found = {item["name"]: item for item in answer.json()["outputs"]}
    assert {name: item["data"] for name, item in found.items() if name != "pictures"} == {
        "said": ["hello there"],
        "size": [3.5],
        "kind": ["cat"],
        "kind.score": [0.75],
        "kinds": ["cat", "dog"],
        "kinds.score": [0.75, 0.25],
        "facts": ['{"a": [1]}'],
    }
    assert list(map(base64.b64decode, found["pictures"]["data"])) == [PNG + b"1", PNG + b"2"]
    assert found["pictures"]["parameters"] == {
        "content_type": "image/png",
        "name": "secret-0.png",
        "content_type.1": "image/png",
        "name.1": "secret-1.png",
        "encoding": "base64",
    }


async def test_chosen_outputs_come_as_bytes(api: Instance, ann: Account, many: dict[str, Any]) -> None:
    chosen = [{"name": name, "parameters": {"binary_data": True}} for name in ("size", "pictures")]
    path = f"/v2/models/{ann.name}~many/infer"
    async with runner(api, many, outputs=await made(api)):
        answer = await ann.client.post(path, json={"inputs": [], "outputs": chosen})
        assert "no output `other`" in refused(
            await ann.client.post(path, json={"inputs": [], "outputs": [{"name": "other"}]}), 400
        )
    length = int(answer.headers["inference-header-content-length"])
    head, rest = json.loads(answer.content[:length]), answer.content[length:]
    assert [item["name"] for item in head["outputs"]] == ["size", "pictures"]
    files = b"".join(struct.pack("<I", len(PNG) + 1) + PNG + mark for mark in (b"1", b"2"))
    assert rest == struct.pack("<d", 3.5) + files


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (tensor("count", "INT64", 99), "is larger than 9"),
        (tensor("txt", "BYTES", "x"), "did you mean `text`"),
        (tensor("image", "INT64", 1), "send its bytes as BYTES"),
        (tensor("image", "BYTES", "?", encoding="base64"), "cannot be decoded"),
        (tensor("image", "BYTES", "no picture"), "is no picture"),
        (tensor("text", "INT64", 1), "must be text"),
        (tensor("rows", "BYTES", "{"), "is not JSON"),
        ({"name": "count", "datatype": "INT64", "shape": [2], "data": [1, 2]}, "takes one value"),
    ],
)
async def test_wrong_inputs_are_named_and_nothing_runs(
    api: Instance, ann: Account, many: dict[str, Any], given: dict[str, Any], words: str
) -> None:
    answer = await ann.client.post(f"/v2/models/{ann.name}~many/infer", json={"inputs": [given]})
    assert words in refused(answer, 400)
    requests = api.database_as("runner").collection(RunRequest)
    assert await requests.find({"version_id": many["id"]}, limit=1) == []


async def test_numbers_that_are_none_are_refused(api: Instance, ann: Account, many: dict[str, Any]) -> None:
    link = await ann.share(f"{ann.name}/many@1")
    described = {
        "name": "ratio",
        "datatype": "FP64",
        "shape": [1],
        "parameters": {"binary_data_size": 8},
    }
    text = json.dumps({"inputs": [described]}).encode()
    answer = await api.client().post(
        f"/s/{link['token']}/v2/models/model/infer",
        content=text + struct.pack("<d", float("nan")),
        headers={"Inference-Header-Content-Length": str(len(text))},
    )
    assert "finite" in refused(answer, 400)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.USER_ERROR, 422),
        (Reason.OUT_OF_MEMORY, 422),
        (Reason.INPUT_INVALID, 400),
        (Reason.TIMEOUT, 504),
        (Reason.PLATFORM_ERROR, 503),
    ],
)
async def test_a_failed_run_says_why(
    api: Instance, ann: Account, many: dict[str, Any], reason: Reason, status: int
) -> None:
    ended = {"state": RunState.FAILED, "reason": reason, "message": "it went wrong"}
    async with runner(api, many, **ended):
        answer = await ann.client.post(f"/v2/models/{ann.name}~many/infer", json={"inputs": []})
    assert refused(answer, status) == "it went wrong"


async def test_a_run_that_nobody_begins_is_given_up(
    api: Instance, ann: Account, many: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.programs, "_patience", 0.3)
    monkeypatch.setattr("vitrine_api.inference.programs.STOP_SECONDS", 0.1)
    sent: list[Any] = []
    send = api.services.platform.bus.send

    async def noted(*messages: Any, **options: Any) -> None:
        sent.extend(messages)
        await send(*messages, **options)

    monkeypatch.setattr(api.services.platform.bus, "send", noted)
    answer = await ann.client.post(f"/v2/models/{ann.name}~many/infer", json={"inputs": []})
    assert "no runner began this run" in refused(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    (request,) = await api.database_as("runner").collection(RunRequest).find({"version_id": many["id"]})
    assert [message.run_id for message in sent if message.TYPE == "run.cancel"] == [request.id]


async def test_a_link_counts_and_a_blind_one_tells_nothing(
    api: Instance, ann: Account, many: dict[str, Any]
) -> None:
    link = await ann.share(f"{ann.name}/many@1", blind=True, max_runs=1)
    base = f"/s/{link['token']}/v2/models/model"
    failed = f"File /home/{ann.name}/secret.py: no"
    async with runner(api, many, outputs=await made(api)) as seen:
        told = [
            await api.client().get(base),
            await api.client().post(f"{base}/infer", json={"inputs": []}),
            await api.client().post(f"{base}/infer", json={"inputs": []}),
        ]
    assert [answer.status_code for answer in told] == [200, 200, 429]
    assert seen[0].blind
    assert (await api.database_as("runner").collection(ShareLink).get(link["id"])).runs_used == 1
    other = await ann.share(f"{ann.name}/many@1", blind=True)
    ended = {"state": RunState.FAILED, "reason": Reason.USER_ERROR, "message": failed}
    async with runner(api, many, **ended) as again:
        again.append(seen[0])
        path = f"/s/{other['token']}/v2/models/model/infer"
        told.append(await api.client().post(path, json={"inputs": []}))
    assert told[-1].status_code == 422
    for answer in told:
        everything = answer.text + str(answer.headers)
        assert ann.name not in everything
        assert "secret-" not in everything
        assert many["digest"][7:19] not in everything
