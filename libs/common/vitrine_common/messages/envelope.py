"""The envelope around every message, and the bases of what it carries."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from vitrine_common.clock import utcnow
from vitrine_common.ids import new_id
from vitrine_common.telemetry import correlation_id, inject


class Message(BaseModel):
    """What is said. It carries ids and digests, never rows or bytes.

    `TYPE` is the message's name: `noun.verb` for a command, `noun.past` for a fact.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]

    def subject(self) -> str:
        """Return the subject that the message travels on."""
        return self.TYPE


class Command(Message):
    """A wish that exactly one service carries out (work-queue stream)."""


class Event(Message):
    """A fact that any number of services may use (limits stream)."""


class Progress(Message):
    """News for whoever is looking right now; not stored, losing one harms nobody."""


class Exchange(Message):
    """A question or its answer, by request and reply: in no envelope, for whoever waits right now."""


M = TypeVar("M", bound=Message)


class Envelope(BaseModel, Generic[M]):
    """A message with its identity and its place in the story.

    The id is chosen by the sender and is the `Nats-Msg-Id`: sending the same envelope twice is
    the same as sending it once.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(description="Chosen by the sender; equal ids are one message.")
    type: str = Field(description="`noun.verb` (command) or `noun.past` (fact).")
    occurred_at: datetime = Field(description="When it was written down, UTC.")
    correlation_id: str = Field(description="Names the user's action that everything here follows from.")
    trace: dict[str, str] = Field(default_factory=dict, description="W3C trace context (traceparent).")
    payload: M


def seal(message: M) -> Envelope[M]:
    """Put `message` into a new envelope that continues the present trace and correlation."""
    envelope_id = new_id("msg")
    envelope: Any = Envelope[type(message)]  # type: ignore[misc] # the payload keeps its own type
    return cast(
        "Envelope[M]",
        envelope(
            id=envelope_id,
            type=message.TYPE,
            occurred_at=utcnow(),
            correlation_id=correlation_id() or envelope_id,
            trace=inject(),
            payload=message,
        ),
    )
