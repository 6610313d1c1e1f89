"""What an address that is told of a single run is sent, word for word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vitrine_api.descriptions import outputs_out
from vitrine_api.resources import API
from vitrine_api.webhooks import Delivering
from vitrine_api.webhooks.delivering import message_body
from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunHook
from vitrine_common.ids import new_id
from vitrine_common.states import RunState

MAX_TOLD_CHARACTERS = 256_000
"""Most characters of outputs in one message; larger ones are left to be fetched."""

Piece = dict[str, Any]
"""A `StreamedText` as it was sent."""


class RunHookMessages:
    """Queues the messages about runs. Each of them may raise Unavailable, and be called again then.

    Args:
        delivering: sends what is queued.
        base_url: how people reach the platform.
    """

    def __init__(self, delivering: Delivering, base_url: str) -> None:
        self._delivering = delivering
        self._base_url = base_url

    async def started(self, hook: RunHook, reference: str) -> None:
        """Tell that the model computes, where that is wished; once, however often this is called."""
        if "started" in hook.events:
            data = {"title": f"A run of {reference} has begun", **self._about(hook, reference)}
            await self._queue(hook, "started", data)

    async def output(self, hook: RunHook, reference: str, pieces: Sequence[Piece], *, left_out: bool) -> None:
        """Tell pieces of streamed outputs; `left_out` says that some that followed them are not told."""
        data = {**self._about(hook, reference), "outputs": list(pieces), "outputs_left_out": left_out}
        # An id of its own: a run that is begun again streams from the beginning again.
        await self._queue(hook, "output", data, new_id("delivery"))

    async def finished(self, hook: RunHook, reference: str, run: Run) -> None:
        """Tell how the run ended, where that is wished; once, however often this is called."""
        if "finished" in hook.events:
            data = {
                "title": f"A run of {reference} {run.state.value}",
                **self._about(hook, reference, run.state),
                "reason": run.reason.value if run.reason else None,
                "message": run.message,
                "timings": run.timings.model_dump(),
                **self._outputs(run),
            }
            await self._queue(hook, "finished", data)

    async def _queue(self, hook: RunHook, event: str, data: dict[str, Any], delivery_id: str = "") -> None:
        kind = f"run.{event}"
        body = message_body(kind, utcnow(), data)
        await self._delivering.queue_of_run(hook, kind, body, delivery_id or f"delivery_{hook.id}_{event}")

    def _about(self, hook: RunHook, reference: str, state: RunState = RunState.RUNNING) -> dict[str, Any]:
        url = f"{self._base_url}/runs/{hook.id}"
        return {"url": url, "run_id": hook.id, "version": reference, "state": state.value}

    def _outputs(self, run: Run) -> dict[str, Any]:
        described = outputs_out(run.outputs, f"{self._base_url}{API}/runs/{run.id}")
        told = [output.model_dump(mode="json", exclude_none=True) for output in described]
        if characters(told) > MAX_TOLD_CHARACTERS:
            return {"outputs": [], "outputs_left_out": True}
        return {"outputs": told, "outputs_left_out": False}


def characters(told: Any) -> int:
    """Return how many characters something takes in a message."""
    return len(json.dumps(told, ensure_ascii=False))
