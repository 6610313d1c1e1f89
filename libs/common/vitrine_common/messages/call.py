"""Synchronous calls of a model: a request and its reply, kept by no stream.

A message is a head (JSON) and the bytes of its tensors: four bytes with the head's length (big endian), the
head, the bytes. What is too large for the bus travels in a file of a directory that both sides share
(`file`), or in the blob store for a moment (`staged`); `size` counts it all.

Requests go to `infer.at.<version>`, where every runner with a living worker of that version listens as one
queue group. Where nobody does, they go to `infer.start.<device>`, to any runner, which starts a worker.
Replies come to the inbox that the request names: any number of `working`, then one of the others.

Between an api and the one runner of an instance on its host, the same messages may go by a socket
(`vitrine_common.hatch`), which the runner names in its answers.
"""

from __future__ import annotations

import struct
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from vitrine_common.messages.envelope import Command, Event, Exchange
from vitrine_common.states import Reason

_LENGTH = struct.Struct("!I")
MAX_HEAD = 1 << 20

Part = tuple[str, str, tuple[int, ...], int]
"""A tensor: its name, NumPy type (`object` for texts, each after its length, `<I`), shape, bytes."""


class Carrier(BaseModel):
    """What heads say of the bytes that follow them."""

    tensors: tuple[Part, ...] = ()
    """In the order of their bytes."""
    size: int = 0
    """Bytes of all tensors together."""
    file: str | None = None
    """Name of the file that holds the bytes, below the shared directory; the reader removes it."""
    staged: str | None = None
    """Name under which the blob store holds the bytes; the reader removes it."""


class ModelCall(Carrier, Exchange):
    """Call a model with tensors, or ask for its signature, and wait for the answer."""

    TYPE: ClassVar[str] = "model.call"

    call_id: str
    version_digest: str
    environment_digest: str
    owner_id: str
    device: Literal["cpu", "gpu"] = "cpu"
    describe: bool = False
    """Only the signature is wanted."""
    outputs: tuple[str, ...] = ()
    """Names of the wanted outputs; all without any."""
    patience: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that the call may wait for its turn; after that nobody listens any more."""
    shared: str | None = None
    """Name of the sender's file in the shared directory: whoever finds it has the same directory."""
    trace: dict[str, str] = {}

    def subject(self) -> str:
        """Return where runners with a worker of the version listen."""
        return warm_subject(self.version_digest)

    def cold_subject(self) -> str:
        """Return where every runner of the kind listens."""
        return f"infer.start.{self.device}"


class Signature(BaseModel):
    """One tensor of a model: its name, NumPy type and shape (a free dimension is its name, or None)."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class ModelAnswer(Carrier, Exchange):
    """The answer to a call, a sign that it is being worked on, or why there is none."""

    TYPE: ClassVar[str] = "model.answer"

    state: Literal["working", "answered", "failed", "busy"]
    """`busy`: it was not begun, and may be sent again."""
    reason: Reason | None = None
    message: str = ""
    retry_after: float | None = None
    """Seconds after which it is worth trying again, of `busy`."""
    cold: bool = False
    """Whether the call had to wait for a worker's start."""
    waited_ms: float | None = None
    compute_ms: float | None = None
    runner: str = ""
    hatch: str | None = None
    """Name of the runner's socket in the directory that it shares with whoever asked: the shorter way."""
    inputs: tuple[Signature, ...] = ()
    """The model's signature, where it was asked for."""
    results: tuple[Signature, ...] = ()

    def subject(self) -> str:
        """Return the pattern of inboxes: the request names its own."""
        return "_INBOX.>"


class CallRecord(Command):
    """Write down the runs of synchronous calls, whose outcomes stand in their requests."""

    TYPE: ClassVar[str] = "call.record"

    run_ids: list[str]


class CallRecorded(Event):
    """Synchronous calls are written down as runs."""

    TYPE: ClassVar[str] = "call.recorded"

    run_ids: list[str]


def warm_subject(version_digest: str) -> str:
    """Return where runners with a living worker of a version listen."""
    return f"infer.at.{version_digest.removeprefix('sha256:')[:32]}"


def pack(head: Exchange, data: bytes | memoryview = b"") -> bytes:
    """Return a message as it is sent."""
    text = head.model_dump_json(exclude_defaults=True).encode()
    return b"".join((_LENGTH.pack(len(text)), text, data))


def split(message: bytes) -> tuple[bytes, memoryview]:
    """Return the head's JSON and the bytes. Raises ValueError for what is no such message."""
    if len(message) < _LENGTH.size:
        raise ValueError("the message has no head")
    (length,) = _LENGTH.unpack_from(message)
    end = _LENGTH.size + length
    if length > MAX_HEAD or end > len(message):
        raise ValueError("the message's head is longer than the message")
    return message[_LENGTH.size : end], memoryview(message)[end:]
