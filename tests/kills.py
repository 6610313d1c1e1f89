"""For the kill test: steady traffic, strikes at services that hold work, and what is left afterwards."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
import nats
import psutil

from stack_desk import StackDesk, eventually
from vitrine.errors import ClientError

SERVICES = ("api", "builder", "runner", "trainer", "monitor")
_FINAL_RUNS = ("succeeded", "failed", "cancelled", "expired")
_ACTIVE = {
    "runner": ("runs", ("starting", "running", "saving")),
    "builder": ("builds", ("building",)),
    "trainer": ("trials", ("running",)),
}
_ROUND = 13
"""Runs that are let in with each strike."""

COUNTING = """\
name: counting
model:
  command: python model.py
  input: {type: flag}
inputs:
  index: {type: number, integer: true}
outputs:
  index: {type: text, path: index.txt}
resources: {cpu: 1, memory: 128Mi}
"""
COUNT = """\
import os, sys
index = sys.argv[sys.argv.index("--index") + 1]
open(f"/executions/{index}-{os.urandom(8).hex()}", "x").close()
open("index.txt", "w").write(index)
"""
TRAINED = """\
name: trained
model: {command: python model.py, input: {type: flag}}
outputs:
  answer: {type: text, path: stdout}
train: {command: python train.py, outputs: weights.txt}
"""
TRAIN = """\
import os, time
for step in range(15):
    print('{"step": %d, "loss": 1.0}' % step, flush=True)
    time.sleep(0.1)
open("weights.txt", "w").write(os.urandom(8).hex())
"""
BUILT = COUNTING.replace("counting", "built") + "package: {type: pip, requirements_file: requirements.txt}\n"


class Traffic:
    """Runs by several clients, and one build and one training after the other, until `finish`."""

    def __init__(self, desk: StackDesk, clients: int = 4) -> None:
        self.accepted: dict[int, str] = {}
        self.sent: set[threading.Event] = set()
        self.broken: set[threading.Event] = set()
        self._desk = desk
        self._clients = clients
        self._indexes = itertools.count()
        self._allowed = threading.Semaphore(0)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients + 2)
        self._let_in = 0

    def __enter__(self) -> Self:
        files = {"vitrine.yaml": COUNTING, "model.py": COUNT}
        self.reference = self._desk.push(self._desk.bundle("counting", files))["reference"]
        self._work = [self._pool.submit(self._run) for _ in range(self._clients)]
        self._work += [self._pool.submit(self._build), self._pool.submit(self._train)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._allowed.release(self._clients)
        self._pool.shutdown()

    def allow(self, runs: int) -> None:
        """Let that many more runs in."""
        self._let_in += runs
        self._allowed.release(runs)

    def allow_up_to(self, runs: int) -> None:
        """Let runs in until there are that many."""
        if self._let_in < runs:
            self.allow(runs - self._let_in)

    def finish(self) -> dict[int, str]:
        """End the traffic; return the ids of the accepted runs by index. Raises what any client raised."""
        self._stop.set()
        self._allowed.release(self._clients)
        for work in self._work:
            work.result()
        return dict(self.accepted)

    def _run(self) -> None:
        while True:
            self._allowed.acquire()
            if self._stop.is_set():
                return
            index = next(self._indexes)
            while not self._submit(index):
                # Whether it was accepted is not known: it counts when it is answered.
                if self._stop.is_set():
                    return

    def _submit(self, index: int) -> bool:
        request = threading.Event()
        path = f"/versions/{self.reference.replace('@', '/')}/runs"
        try:
            with self._desk.api() as api:
                self.sent.add(request)
                answer = api.post(path, json={"inputs": {"index": index}}, timeout=20)
        except httpx.TransportError as error:
            if not isinstance(error, httpx.ConnectError):
                self.broken.add(request)
            return False
        finally:
            self.sent.discard(request)
            request.set()
        if answer.status_code != 202:
            assert answer.status_code == 503, answer.text
            return False
        self.accepted[index] = answer.json()["id"]
        return True

    def _build(self) -> None:
        for number in itertools.count():
            # Another requirement each time, so that it is resolved; the same lock, so that it is quick.
            files = {"vitrine.yaml": BUILT, "model.py": COUNT, "requirements.txt": f"six>=0.{number}\n"}
            folder = self._desk.bundle(f"built-{number}", files)
            if self._stop.is_set():
                return
            self._insist(lambda folder=folder: self._desk.push(folder))  # type: ignore[misc]

    def _train(self) -> None:
        folder = self._desk.bundle("trained", {"vitrine.yaml": TRAINED, "model.py": "", "train.py": TRAIN})
        while not self._stop.is_set():
            self._insist(lambda: self._trained(folder))

    def _trained(self, folder: Any) -> None:
        with self._desk.client() as client:
            client.trained(client.train(folder))

    def _insist(self, act: Callable[[], object]) -> None:
        while not self._stop.is_set():
            with suppress(ClientError, httpx.TransportError):
                act()
                return


@dataclass
class Killer:
    """Kills services, and looks what they held.

    A service is frozen, looked at, and killed only while it holds work: leased runs, builds and trials
    by the holder's pid, finished runs that the frozen monitor has not scored, requests that broke off.
    """

    desk: StackDesk
    traffic: Traffic
    counted: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.database = self.desk.mongo()

    def strike(self, service: str, chance: random.Random) -> bool:
        """Let runs in, wait until `service` holds work, and kill it; whether that counts."""
        pid: int = eventually(lambda: self._healthy(service), f"the {service} is back")
        self.traffic.allow(_ROUND)
        patience = chance.randrange(8)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if not self._seems_busy(service, pid):
                continue
            if patience:  # not always the first chance: another moment of the work each time
                patience -= 1
                continue
            os.kill(pid, signal.SIGSTOP)
            if self._holds(service, pid):
                return self._kill(service, pid)
            os.kill(pid, signal.SIGCONT)
        self.missed[service] += 1
        return False

    def _kill(self, service: str, pid: int) -> bool:
        open_requests = list(self.traffic.sent)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not _runs(pid), f"the {service} is dead")
        if service == "api":
            for request in open_requests:
                request.wait(30)
            if not self.traffic.broken.intersection(open_requests):
                self.missed[service] += 1
                return False
        self.counted[service] += 1
        return True

    def _healthy(self, service: str) -> int | None:
        part = self.desk.state()["parts"][service]
        return part["pid"] if part["state"] == "healthy" and _runs(part["pid"]) else None

    def _seems_busy(self, service: str, pid: int) -> bool:
        if service == "api":
            return bool(self.traffic.sent)
        # The monitor scores in milliseconds: facts that reach it are about runs that are under way now.
        return self._leased("runner") if service == "monitor" else self._leased(service, pid)

    def _holds(self, service: str, pid: int) -> bool:
        """Whether a frozen service holds work; the monitor is given the time of a run to be told of one."""
        if service == "api":
            return bool(self.traffic.sent)
        if service != "monitor":
            return self._leased(service, pid)
        deadline = time.monotonic() + 5
        while not (told := self._unscored() - self.seen) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.seen |= told
        return bool(told)

    def _leased(self, service: str, pid: int | None = None) -> bool:
        collection, states = _ACTIVE[service]
        held = self.database[collection].find({"state": {"$in": states}}, {"lease_holder": 1})
        return any(pid is None or document["lease_holder"].endswith(f":{pid}") for document in held)

    def _unscored(self) -> set[str]:
        scored = {record["_id"] for record in self.database["scoring"].find({}, {"outcome": 1})}
        finished = self.database["runs"].find({"state": {"$in": _FINAL_RUNS}}, {"state": 1})
        return {run["_id"] for run in finished} - scored


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Left:
    """What the platform holds once everything has settled."""

    runs: dict[str, dict[str, Any]]
    facts: Counter[str]
    scored: set[str]
    dead: int
    failed: list[str]


def settled(desk: StackDesk) -> Left | None:
    """Return what is there when nothing is under way any more; None while something is."""
    database = desk.mongo()
    runs = {run["_id"]: run for run in database["runs"].find({})}
    requests = {request["_id"] for request in database["run_requests"].find({}, {"state": 1})}
    scored = [record["_id"] for record in database["scoring"].find({}, {"outcome": 1})]
    under_way = [run for run in runs.values() if run["state"] not in _FINAL_RUNS]
    for name, ends in (("builds", "succeeded failed"), ("trials", "succeeded failed cancelled")):
        under_way += database[name].find({"state": {"$nin": ends.split()}}).limit(1)
    under_way += database["versions"].find({"state": {"$nin": ["ready", "build_failed"]}}).limit(1)
    for name in database.list_collection_names():
        under_way += database[name].find({"outbox_count": {"$gt": 0}}).limit(1)
    if under_way or requests != set(runs) or len(scored) != len(runs):
        return None
    with ThreadPoolExecutor(1) as pool:
        waiting, dead, facts = pool.submit(
            lambda: asyncio.run(messages_of(desk.state()["nats_url"]))
        ).result()
    if waiting:
        return None
    failed = [document["_id"] for document in database["trials"].find({"state": {"$ne": "succeeded"}})]
    failed += [document["_id"] for document in database["builds"].find({"state": {"$ne": "succeeded"}})]
    return Left(runs, facts, set(scored), dead, failed)


async def messages_of(url: str) -> tuple[int, int, Counter[str]]:
    """Return how many messages wait, how many were given up, and the terminal facts by run."""
    connection = await nats.connect(url, allow_reconnect=False)
    try:
        stream = connection.jetstream()
        waiting = (await stream.stream_info("VITRINE_COMMANDS")).state.messages
        for name in ("VITRINE_COMMANDS", "VITRINE_EVENTS"):
            for consumer in await stream.consumers_info(name):
                waiting += (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        dead = (await stream.stream_info("VITRINE_DEAD")).state.messages
        # By the envelope's id: the same fact may have been sent twice, but not two facts.
        ends: dict[str, str] = {}
        events = await stream.stream_info("VITRINE_EVENTS")
        for sequence in range(events.state.first_seq, events.state.last_seq + 1):
            message = await stream.get_msg("VITRINE_EVENTS", sequence)
            if (message.subject or "").removeprefix("run.") in _FINAL_RUNS:
                envelope = json.loads(message.data or b"{}")
                ends[envelope["id"]] = envelope["payload"]["run_id"]
        return waiting, dead, Counter(ends.values())
    finally:
        await connection.close()
