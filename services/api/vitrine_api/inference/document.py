"""The Open Inference Protocol in the instance's OpenAPI document.

No router knows these addresses (`inference.endpoint` answers them before any), so they are described here.
Their refusals have the protocol's form, not the one of the rest of the api.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitrine_api.inference.datatypes import DATATYPES
from vitrine_api.inference.protocol import MAX_RANK, MAX_TENSORS

TAG = "Open Inference Protocol"
_JSON = "application/json"
_BYTES = "application/octet-stream"
_TENSOR: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 256},
        "datatype": {"type": "string", "enum": list(DATATYPES)},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MAX_RANK},
        "parameters": {"type": "object"},
        "data": {"type": "array", "description": "Flat or nested; absent where binary data follows."},
    },
}
_WANTED: Mapping[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", "minLength": 1}, "parameters": {"type": "object"}},
}
_METADATA: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}, "description": "-1 where free."},
    },
}


def _listed(schema: str, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}, **more}


SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "InferenceError": {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string", "description": "A sentence for a person."}},
    },
    "InferenceTensor": _TENSOR,
    "InferenceWanted": _WANTED,
    "InferenceMetadata": _METADATA,
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 1000},
            "inputs": _listed("InferenceTensor", maxItems=MAX_TENSORS),
            "outputs": _listed("InferenceWanted", description="All, without any."),
            "parameters": {"type": "object"},
        },
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": _listed("InferenceTensor"),
        },
    },
    "InferenceServer": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "InferenceModel": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": _listed("InferenceMetadata"),
            "outputs": _listed("InferenceMetadata"),
        },
    },
    "InferenceReady": {
        "type": "object",
        "required": ["ready"],
        "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}},
    },
    "InferenceLive": {
        "type": "object",
        "required": ["live"],
        "properties": {"live": {"type": "boolean"}},
    },
}
_ADMISSION = {
    401: "The token is missing, wrong or expired; or a restricted link was not opened.",
    403: "The token's scope or the account does not reach; or the link is paused.",
    404: "There is no such model, or it is not yours to know of.",
    409: "The version is not ready.",
    410: "The link has ended.",
    429: "A rate or quota is used up; `Retry-After` tells the seconds.",
    503: "A server behind the api, or every runner, is busy or away; `Retry-After` tells the seconds.",
}
_CALL = {
    400: "What is wrong with the request.",
    413: "The body, or what the tensors make of it, is over the limit.",
    422: "A program's own failure, in its words.",
    500: "An ONNX model's failure.",
    504: "The model took longer than it may.",
}
_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of the JSON, where binary tensors follow it.",
}
_MODEL = {
    "": "`OWNER~MODEL`.",
    "/s/{token}": "Always `model`.",
}


def paths() -> dict[str, dict[str, Any]]:
    """Return the operations by path: of an account's models, and of a link's one model."""
    return {path: operation for base in _MODEL for path, operation in _of(base)}


def _of(base: str) -> Iterator[tuple[str, dict[str, Any]]]:
    at, by = f"{base}/v2", "_by_link" if base else ""
    server: dict[str, Any] = {"tags": [TAG], "parameters": [_parameter("token")] if base else []}
    yield at, _get({**server, "operationId": f"inference_server{by}"}, "The server", "Server")
    live = {**server, "operationId": f"inference_live{by}"}
    yield f"{at}/health/live", _get(live, "Whether the server lives", "Live")
    ready = _get({**server, "operationId": f"inference_ready{by}"}, "Whether models can be called", "Ready")
    ready["get"]["responses"]["503"] = _answer("No, for now.", "InferenceReady")
    yield f"{at}/health/ready", ready
    for versioned in ("", "/versions/{version}"):
        model: dict[str, Any] = {
            "tags": [TAG],
            "parameters": [
                *server["parameters"],
                {**_parameter("model"), "description": _MODEL[base]},
            ],
        }
        if versioned:
            model["parameters"].append(_parameter("version"))
        if not base:
            model["security"] = [{"HTTPBearer": []}]
        name, of = f"{at}/models/{{model}}{versioned}", "_of_version" * bool(versioned) + by
        yield name, _get({**model, "operationId": f"inference_model{of}"}, "Its tensors", "Model", _ADMISSION)
        of_model = {**model, "operationId": f"inference_model_ready{of}"}
        yield f"{name}/ready", _get(of_model, "Whether the model can be called", "Ready", _ADMISSION)
        yield f"{name}/infer", _post({**model, "operationId": f"inference_infer{of}"})


def _get(
    operation: dict[str, Any], summary: str, schema: str, refusals: Mapping[int, str] | None = None
) -> dict[str, Any]:
    answers = {"200": _answer("Successful Response", f"Inference{schema}"), **_refused(refusals or {})}
    return {"get": {**operation, "summary": summary, "responses": answers}}


def _post(operation: dict[str, Any]) -> dict[str, Any]:
    answer = _answer("The outputs.", "InferenceResponse")
    answer["content"][_BYTES] = {"schema": {"description": "JSON, then binary tensors."}}
    body = {
        "required": True,
        "content": {
            _JSON: {"schema": {"$ref": "#/components/schemas/InferenceRequest"}},
            _BYTES: {"schema": {"description": "JSON, then binary tensors."}},
        },
    }
    parameters = [*operation["parameters"], _LENGTH]
    own = {"summary": "Call the model", "parameters": parameters, "requestBody": body}
    return {"post": {**operation, **own, "responses": {"200": answer, **_refused({**_ADMISSION, **_CALL})}}}


def _parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _answer(description: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {_JSON: {"schema": reference}}}


def _refused(refusals: Mapping[int, str]) -> dict[str, Any]:
    return {str(status): _answer(text, "InferenceError") for status, text in sorted(refusals.items())}
