"""The Open Inference Protocol's wire form: every datatype both ways, and what is refused."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from typing import Any

import pytest

from vitrine_api.inference.addresses import (
    MAX_REMEMBERED_CHARACTERS,
    NOWHERE,
    Address,
    _remembered,
    address_of,
)
from vitrine_api.inference.datatypes import DATATYPES, from_json, to_json
from vitrine_api.inference.protocol import InferRequest, deflated, encode, inflated, parse, tensors_of
from vitrine_api.models import Reference
from vitrine_common.errors import Invalid, TooLarge


def body(inputs: list[dict[str, Any]], **fields: Any) -> bytes:
    return json.dumps({"inputs": inputs, **fields}).encode()


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0], **fields}


VALUES: dict[str, tuple[list[Any], bytes]] = {
    "BOOL": ([True, False], b"\1\0"),
    "UINT8": ([0, 255], b"\0\xff"),
    "UINT16": ([1, 65535], struct.pack("<2H", 1, 65535)),
    "UINT32": ([1, 2**32 - 1], struct.pack("<2I", 1, 2**32 - 1)),
    "UINT64": ([1, 2**64 - 1], struct.pack("<2Q", 1, 2**64 - 1)),
    "INT8": ([-128, 127], struct.pack("<2b", -128, 127)),
    "INT16": ([-2, 3], struct.pack("<2h", -2, 3)),
    "INT32": ([-2, 3], struct.pack("<2i", -2, 3)),
    "INT64": ([-(2**63), 3], struct.pack("<2q", -(2**63), 3)),
    "FP16": ([1.5, -2.0], struct.pack("<2e", 1.5, -2.0)),
    "FP32": ([1.5, -2.0], struct.pack("<2f", 1.5, -2.0)),
    "FP64": ([0.1, -2.0], struct.pack("<2d", 0.1, -2.0)),
    "BYTES": (["é", ""], struct.pack("<I", 2) + "é".encode() + struct.pack("<I", 0)),
}


def test_every_datatype_has_an_example_here() -> None:
    assert set(VALUES) == set(DATATYPES)


@pytest.mark.parametrize("name", VALUES)
def test_values_become_bytes_and_come_back(name: str) -> None:
    values, data = VALUES[name]
    assert from_json(DATATYPES[name], [2], values, "x") == data
    assert from_json(DATATYPES[name], [2, 1], [[value] for value in values], "x") == data
    assert to_json(DATATYPES[name], data) == values


@pytest.mark.parametrize("name", VALUES)
def test_binary_tensors_follow_the_json(name: str) -> None:
    data = VALUES[name][1]
    described = {"name": "x", "datatype": name, "shape": [2], "parameters": {"binary_data_size": len(data)}}
    text = body([described, tensor(name="y")], id="7", parameters={"binary_data_output": True})
    request = parse(text + data, str(len(text)))
    assert [bytes(item.data) for item in request.inputs] == [data, struct.pack("<2f", 1.5, 2)]
    assert (request.id, request.binary, request.outputs) == ("7", True, [])


def test_outputs_are_chosen_with_their_form() -> None:
    wanted = [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}]
    request = parse(body([tensor()], outputs=wanted), None)
    assert [(item.name, item.binary) for item in request.outputs] == [("a", True), ("b", False)]
    found = tensors_of(
        [("a", "float32", (2,), 8), ("b", "int64", (1,), 8)],
        struct.pack("<2f", 1, 2) + struct.pack("<q", 5),
    )
    text, length = encode(request, found, model="m", version="3")
    head = json.loads(text[:length])
    assert text[length:] == struct.pack("<2f", 1, 2)
    assert head == {
        "model_name": "m",
        "model_version": "3",
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "INT64", "shape": [1], "data": [5]},
        ],
    }


def test_without_binary_outputs_the_answer_is_json_alone() -> None:
    text, length = encode(InferRequest(id="q"), tensors_of([], b""), model="m", version="1")
    assert length is None
    assert json.loads(text) == {"model_name": "m", "model_version": "1", "outputs": [], "id": "q"}


REFUSED: list[tuple[str, bytes, str | None]] = [
    ("is not JSON", b"{", None),
    ("must be a JSON object", b"[]", None),
    ("`inputs` must be a list", b"{}", None),
    ("`inputs` must be a list", b'{"inputs": [1]}', None),
    ("has no `name`", body([{"datatype": "FP32"}]), None),
    ("names a tensor twice", body([tensor(), tensor()]), None),
    ("BF16 is not served", body([tensor(datatype="BF16")]), None),
    ("is no datatype", body([tensor(datatype="FLOAT")]), None),
    ("has no `shape`", body([tensor(shape=[1, -2])]), None),
    ("has no `shape`", body([tensor(shape=[1, True])]), None),
    ("has no `shape`", body([tensor(shape=None)]), None),
    ("takes 6", body([tensor(shape=[2, 3])]), None),
    ("has no `data`", body([tensor(data=None)]), None),
    ("not even", body([tensor(data=[[1.0], [1.0, 2.0]])]), None),
    ("are not FP32", body([tensor(data=[1.0, "2"])]), None),
    ("are not INT8", body([tensor(datatype="INT8", data=[1, 200])]), None),
    ("are not BOOL", body([tensor(datatype="BOOL", data=[1, 2])]), None),
    ("are not BYTES", body([tensor(datatype="BYTES", data=["a", 1])]), None),
    ("is not the length", body([tensor()]), "9999"),
    ("is not the length", body([tensor()]), "-1"),
    ("more than what follows", body([tensor(parameters={"binary_data_size": 8})]), None),
    ("`id` must be", body([tensor()], id=5), None),
    ("`parameters` of the request", body([tensor()], parameters=[]), None),
    ("classification", body([tensor()], outputs=[{"name": "a", "parameters": {"classification": 3}}]), None),
    (
        "shared memory",
        body([tensor()], outputs=[{"name": "a", "parameters": {"shared_memory_region": "r"}}]),
        None,
    ),
]


@pytest.mark.parametrize(("words", "text", "length"), REFUSED)
def test_what_is_wrong_is_named(words: str, text: bytes, length: str | None) -> None:
    with pytest.raises(Invalid, match=words):
        parse(text, length)


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    text = body([tensor()])
    with pytest.raises(Invalid, match="3 bytes after the JSON"):
        parse(text + b"abc", str(len(text)))


@pytest.mark.parametrize(("size", "words"), [(5, "5 bytes"), (12, "12 bytes")])
def test_binary_tensors_must_fill_their_shape(size: int, words: str) -> None:
    text = body([{**tensor(parameters={"binary_data_size": size}), "data": None}])
    with pytest.raises(Invalid, match=words):
        parse(text + bytes(size), str(len(text)))


def test_texts_that_are_cut_short_are_refused() -> None:
    data = struct.pack("<I", 9) + b"short"
    described = {
        "name": "x",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(data)},
    }
    text = body([described])
    with pytest.raises(Invalid, match="end inside an element"):
        parse(text + data, str(len(text)))


def test_too_many_json_values_are_refused_before_they_are_read() -> None:
    with pytest.raises(TooLarge, match="binary data"):
        parse(b'{"inputs": [' + b"1," * 1_000_001 + b"1]}", None)


def test_bodies_are_decompressed_within_their_limit() -> None:
    data = b"tensor" * 1000
    raw = zlib.compressobj(wbits=-15)
    for packed, encoding in (
        (gzip.compress(data), "gzip"),
        (zlib.compress(data), "deflate"),
        (raw.compress(data) + raw.flush(), "deflate"),
        (data, "identity"),
    ):
        assert inflated(packed, encoding, 6000) == data
    with pytest.raises(TooLarge):
        inflated(gzip.compress(bytes(1 << 24)), "gzip", 6000)
    for packed, encoding in ((b"nonsense", "gzip"), (gzip.compress(data)[:-9], "gzip"), (data, "br")):
        with pytest.raises(Invalid):
            inflated(packed, encoding, 6000)


def test_answers_are_packed_as_the_client_asks() -> None:
    data = b"tensor" * 1000
    packed, name = deflated(data, "br, gzip;q=0.5")
    assert (gzip.decompress(packed), name) == (data, "gzip")
    packed, name = deflated(data, "deflate")
    assert (zlib.decompress(packed), name) == (data, "deflate")
    assert deflated(data, "gzip;q=0") == (data, None)


ADDRESSES = {
    "/v2": Address("server"),
    "/v2/": Address("server"),
    "/v2/health/live": Address("live"),
    "/v2/health/ready": Address("ready"),
    "/v2/models/ann~net": Address("model", None, "ann~net"),
    "/v2/models/ann%2Fnet/infer": Address("infer", None, "ann/net"),
    "/v2/models/ann/net/infer": Address("infer", None, "ann/net"),
    "/v2/models/ann/net/versions/3/infer": Address("infer", None, "ann/net", "3"),
    "/v2/models/ann~net/versions/3": Address("model", None, "ann~net", "3"),
    "/v2/models/ann~net/ready": Address("model_ready", None, "ann~net"),
    "/v2/models/ann/infer": Address("infer", None, "ann"),
    "/v2/models/ann~infer": Address("model", None, "ann~infer"),
    "/s/abc/v2": Address("server", "abc"),
    "/s/abc/v2/models/model/infer": Address("infer", "abc", "model"),
    "/s/abc/v2/models/model/versions/1/ready": Address("model_ready", "abc", "model", "1"),
    "/s/no%20token%2F/v2": Address("server", "no%20token%2F"),
    "/v2/repository/index": NOWHERE,
    "/v2/models/ann~net/config": NOWHERE,
    "/v2/models": NOWHERE,
}


@pytest.mark.parametrize("path", ADDRESSES)
def test_addresses(path: str) -> None:
    assert address_of(path) == ADDRESSES[path]


@pytest.mark.parametrize("path", ["/s/abc/runs", "/s/abc", "/v22", "/v2models", "/s/a/b/v2", "/s//v2"])
def test_other_addresses_are_not_ours(path: str) -> None:
    assert address_of(path) is None


def test_long_addresses_do_not_stay_in_memory() -> None:
    path = "/v2/models/ann~".ljust(MAX_REMEMBERED_CHARACTERS, "x")
    _remembered.cache_clear()
    assert address_of(path) == Address("model", None, path.removeprefix("/v2/models/"))
    assert _remembered.cache_info().currsize == 0
    address_of(path[:-1])
    assert _remembered.cache_info().currsize == 1


def test_a_model_is_named_with_its_owner() -> None:
    for name in ("ann~net", "ann/net"):
        assert Address("infer", None, name, "3").reference() == Reference("ann", "net", "3")
    for name in ("net", "~net", "ann~", "a/b/c"):
        assert Address("infer", None, name).reference() is None
