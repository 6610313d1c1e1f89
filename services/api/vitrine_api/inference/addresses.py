"""Where the Open Inference Protocol is served, and what an address there names.

An account's models are at `/v2/models/{owner}~{model}` (or `{owner}%2F{model}`, or `{owner}/{model}`: clients
differ in what they quote). A link's one model is at `/s/{token}/v2/models/model`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from vitrine_api.models import LATEST, Reference

Verb = Literal["server", "live", "ready", "model", "model_ready", "infer"]
LINK_MODEL = "model"
MAX_REMEMBERED_CHARACTERS = 512
"""Paths of so many characters and more are read anew each time."""
_BASE = re.compile(r"(?:/s/([^/]+))?/v2(/.*)?\Z", re.DOTALL)
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
    # The same few again and again; those of links hold a secret, which is not kept, and long ones no model's
    # name: whoever asks need not have logged in, and may not fill the memory.
    is_kept = path.startswith("/v2") and len(path) < MAX_REMEMBERED_CHARACTERS
    return _remembered(path) if is_kept else _read(path)


def _read(path: str) -> Address | None:
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


_remembered = lru_cache(maxsize=1024)(_read)
NOWHERE = Address("server", "nowhere", "nowhere")


def _model(token: str | None, rest: list[str]) -> Address | None:
    """Read what follows `/v2/models/`: a name of one part or two, a version, a verb."""
    # `X/infer` calls what is no model's name, and is told so; a model `infer` is written `X~infer`.
    whole = token is not None or set("~/") & set(rest[0]) or tuple(rest[1:]) in _VERBS
    length = 1 if whole else 2
    name, tail = "/".join(rest[:length]), rest[length:]
    version = None
    if len(tail) >= 2 and tail[0] == "versions":
        version, tail = tail[1], tail[2:]
    verb = _VERBS.get(tuple(tail))
    return Address(verb, token, name, version) if verb is not None else None
