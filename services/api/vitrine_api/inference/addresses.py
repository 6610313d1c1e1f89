"""Where the Open Inference Protocol is served, and what an address there names.

An account's models are at `/v2/models/{owner}~{model}` (or `{owner}%2F{model}`, or `{owner}/{model}`: clients
differ in what they quote). A link's one model is at `/s/{token}/v2/models/model`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from vitrine_api.models import LATEST, Reference

Verb = Literal["server", "live", "ready", "model", "model_ready", "infer"]
LINK_MODEL = "model"
_BASE = re.compile(r"(?:/s/([A-Za-z0-9_-]{1,64}))?/v2(/.*)?\Z")
_VERBS: dict[tuple[str, ...], Verb] = {("infer",): "infer", ("ready",): "model_ready", (): "model"}


@dataclass(frozen=True, slots=True)
class Address:
    """What is asked for. `token` is a link's; `model` and `version` are as they were written."""

    verb: Verb
    token: str | None = None
    model: str = ""
    version: str | None = None

    def reference(self) -> Reference | None:
        """Return the account's model that is named, or None where it is no such name."""
        owner, separator, model = self.model.partition("~" if "~" in self.model else "/")
        if not separator or not owner or not model or "/" in model:
            return None
        return Reference(owner, model, self.version or LATEST)


def address_of(path: str) -> Address | None:
    """Return what a request's raw path names; None where it is nothing of this protocol.

    An unknown path below `/v2` is an address with no verb of its own: see `NOWHERE`.
    """
    match = _BASE.fullmatch(path)
    if match is None:
        return None
    token, parts = match[1], [unquote(part) for part in (match[2] or "").split("/") if part]
    match parts:
        case []:
            return Address("server", token)
        case ["health", "live"]:
            return Address("live", token)
        case ["health", "ready"]:
            return Address("ready", token)
        case ["models", *rest] if rest:
            return _model(token, rest) or NOWHERE
    return NOWHERE


NOWHERE = Address("server", "nowhere", "nowhere")


def _model(token: str | None, rest: list[str]) -> Address | None:
    """Read what follows `/v2/models/`: a name of one part or two, a version, a verb."""
    length = 1 if token is not None or set("~/") & set(rest[0]) else 2
    name, tail = "/".join(rest[:length]), rest[length:]
    version = None
    if len(tail) >= 2 and tail[0] == "versions":
        version, tail = tail[1], tail[2:]
    verb = _VERBS.get(tuple(tail))
    return Address(verb, token, name, version) if verb is not None else None
