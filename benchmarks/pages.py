"""What pages cost: time of the showcase and of an owner's lists, memory of many open event streams.

usage: pages.py [--json] [--models N] [--runs N] [--viewers N] [--requests N]

One api process of its own (`python -m vitrine_api`, nothing forked, nothing shared with other services)
beside the servers of the embedded stack, with documents written as the other services would have written
them. Times are those of whole answers over one kept connection of this machine, after a warm-up: they hold
the loopback and this program's part, too. Memory is that of the api process: PSS (Linux `smaps_rollup`)
and RSS, in megabytes (10^6 bytes).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

import page_history
from vitrine_api.credentials import visitor_id
from vitrine_api.first_account import make_first_account
from vitrine_api.services import Services, wire
from vitrine_api.settings import ApiSettings
from vitrine_common.digests import sha256_bytes
from vitrine_common.documents import Version
from vitrine_common.service import Platform, make_platform
from vitrine_common.settings import PlatformSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from api_instance import Account, platform_settings
from servers import S3Address, Server, free_port, mongo_server, nats_server, s3_server

GOALS = {"showcase_p95_ms": 30.0, "viewers_pss_mb": 150.0, "lists_p95_ms": 50.0, "revocation_s": 1.0}
HISTORY = 1000
WARM_UP = 20
SETTLE_SECONDS = 5.0
VISITOR = "visitor-of-the-benchmark"


@dataclass
class Site:
    """An api process, and ways to what is behind it."""

    url: str
    pid: int
    platform: Platform
    services: Services
    owner: Account
    session: str


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """Start servers and an api below `folder`; end both."""
    bus, mongo = nats_server(folder / "nats"), mongo_server(folder / "mongo")
    s3, keys = s3_server(folder / "s3")
    async with AsyncExitStack() as stack:
        for server in (bus, mongo, s3):
            server.start()
            stack.callback(server.stop)
        settings = platform_settings(
            f"nats://127.0.0.1:{bus.port}",
            f"mongodb://127.0.0.1:{mongo.port}",
            S3Address(f"http://127.0.0.1:{s3.port}", *keys),
        )
        own = make_platform("api", settings)
        await own.start()
        stack.push_async_callback(own.stop)
        made = await make_first_account(own.database, "owner@example.org", "owner")
        api = _api(folder, settings)
        await asyncio.to_thread(api.start)
        stack.callback(api.stop)
        url = f"http://127.0.0.1:{api.port}"
        headers = {"Authorization": f"Bearer {made['token']}"}
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60, headers=headers))
        who = (await client.get("/api/v1/whoami")).json()
        owner = Account(client, who["id"], made["email"], made["name"], made["token"], made["password"])
        services = wire(own, ApiSettings())
        session = await services.sessions.open(await services.repository.accounts.users.get(owner.id))
        yield Site(url, api.pid, own, services, owner, session)


def _api(folder: Path, settings: PlatformSettings) -> Server:
    api = Server("api", lambda _: [sys.executable, "-m", "vitrine_api"], folder / "api.log", port=free_port())
    api.environment = {
        "VITRINE_NATS_URL": settings.nats.url,
        "VITRINE_MONGO_URL": settings.mongo.url,
        "VITRINE_MONGO_DATABASE": settings.mongo.database,
        "VITRINE_S3_ENDPOINT": settings.s3.endpoint,
        "VITRINE_S3_ACCESS_KEY": settings.s3.access_key,
        "VITRINE_S3_SECRET_KEY": settings.s3.secret_key.get_secret_value(),
        "VITRINE_S3_BUCKET": settings.s3.bucket,
        "VITRINE_API_PORT": str(api.port),
        "VITRINE_API_MAIL_DIR": str(folder / "mails"),
        "VITRINE_API_SIGNING_KEY_FILE": str(folder / "signing-key.pem"),
    }
    return api


def timed(url: str, path: str, headers: Mapping[str, str], number: int) -> dict[str, Any]:
    """Ask `number` times for a page and return what the answers took, in milliseconds."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    taken, size = [], 0
    for index in range(number + WARM_UP):
        started = time.perf_counter()
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        size = len(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
        if index >= WARM_UP:
            taken.append((time.perf_counter() - started) * 1000)
    connection.close()
    p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
    return {"p50_ms": round(p50, 1), "p95_ms": round(p95, 1), "bytes": size, "requests": number}


async def showcases(place: Site, history: page_history.History, number: int) -> dict[str, Any]:
    """Measure the showcase of links whose visitor has a long history, with claims and without."""
    plain = {key: value for key, value in page_history.SPEC.items() if key != "claims"}
    found: dict[str, Any] = {}
    for name, spec, wishes in (
        ("plain", plain, {}),
        ("plain, blind", plain, {"blind": True}),
        ("8 claims", page_history.SPEC, {}),
        ("8 claims, blind", page_history.SPEC, {"blind": True}),
    ):
        version = await ready(place, name, spec)
        made = await place.owner.share(version.reference, **wishes)
        link = await place.services.repository.links.links.get(made["id"])
        visitor = visitor_id(link.id, VISITOR)
        await history.write(page_history.runs(version, HISTORY, link, visitor))
        if "claims" in spec:
            await history.write(page_history.checks(version, HISTORY, link, visitor))
        cookie = {"Cookie": f"vitrine_visitor={VISITOR}"}
        found[name] = await asyncio.to_thread(timed, place.url, f"/s/{made['token']}", cookie, number)
    return found


async def ready(place: Site, name: str, spec: dict[str, Any]) -> Version:
    """Push a version and say that its environment is there."""
    model = name.replace(" ", "-").replace(",", "")
    pushed = await place.owner.push(model, spec)
    await place.services.versions.build_succeeded(pushed["build_id"], sha256_bytes(b"environment"))
    return await place.services.repository.bundles.versions.get(pushed["id"])


async def lists(
    place: Site, history: page_history.History, models: int, runs: int, number: int
) -> dict[str, Any]:
    """Measure an owner's lists with many models, runs and links."""
    version = await ready(place, "busy", page_history.SPEC)
    for _ in range(20):
        await place.owner.share(version.reference)
        await place.owner.share(version.reference, blind=True)
    started = time.monotonic()
    await history.write(page_history.models(place.owner.id, place.owner.name, models))
    await history.write(page_history.runs(version, runs // 2))
    links = await place.services.repository.links.of_version(version.id)
    plain, blind = (next(link for link in links if link.blind is told) for told in (False, True))
    await history.write(page_history.runs(version, runs // 2, plain, "somebody"))
    await history.write(page_history.runs(version, runs // 20, blind, "somebody", minutes=15))
    seconds = time.monotonic() - started
    cookie = {"Cookie": f"vitrine_session={place.session}"}
    bearer = {"Authorization": f"Bearer {place.owner.token}"}
    own = f"/models/{version.owner}/{version.model}"
    pages = [(path, cookie) for path in ("/", "/runs", "/links", own, f"{own}/versions/{version.number}")]
    answers = [(f"/api/v1/{path}", bearer) for path in ("models", "runs", "links")]
    found = {
        path: await asyncio.to_thread(timed, place.url, path, headers, number)
        for path, headers in (*pages, *answers)
    }
    return {"models": models, "runs": runs, "seeded_in_s": round(seconds, 1), "pages": found}


async def viewers(place: Site, number: int) -> dict[str, Any]:
    """Measure what open event streams of a running run cost the api."""
    version = await ready(place, "watched", page_history.SPEC)
    made = await place.owner.share(version.reference)
    client = httpx.AsyncClient(base_url=place.url, headers={"X-Vitrine-Visitor": VISITOR})
    async with client:
        answer = await client.post(f"/api/v1/links/{made['token']}/runs", json={"inputs": {}})
    if answer.status_code != 202:
        raise SystemExit(answer.text)
    run_id = answer.json()["id"]
    before = memory(place.pid)
    path = f"/s/{made['token']}/runs/{run_id}/events"
    started = time.monotonic()
    streams = await asyncio.gather(*(_open_stream(place.url, path) for _ in range(number)))
    opened = time.monotonic() - started
    await asyncio.sleep(SETTLE_SECONDS)
    after, processor = memory(place.pid), psutil.Process(place.pid)
    used = processor.cpu_percent(SETTLE_SECONDS)
    revoked = time.perf_counter()
    gone = await place.owner.client.delete(f"/api/v1/links/{made['id']}")
    gone.raise_for_status()
    await asyncio.gather(*(_ended(reader, writer) for reader, writer in streams))
    told = time.perf_counter() - revoked
    return {
        "viewers": number,
        "opened_in_s": round(opened, 2),
        "cpu_percent_while_open": used,
        "revocation_told_in_s": round(told, 2),
        "before": before,
        "after": after,
        "pss_mb_a_viewer": round((after["pss_mb"] - before["pss_mb"]) / number, 3),
    }


async def _ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a stream until the api ends it."""
    while await reader.read(65536):
        pass
    writer.close()


async def _open_stream(url: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
        f"Cookie: vitrine_visitor={VISITOR}\r\n\r\n"
    )
    writer.write(request.encode())
    await writer.drain()
    await reader.readuntil(b"event: status")
    return reader, writer


def memory(pid: int) -> dict[str, float]:
    """Return PSS and RSS of a process."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value, _unit = line.split()
        sizes[key.rstrip(":")] = int(value) * 1024 / 1e6
    return {"pss_mb": round(sizes["Pss"], 1), "rss_mb": round(sizes["Rss"], 1)}


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start a site, measure all of it and end it."""
    with tempfile.TemporaryDirectory(prefix="vitrine-pages-") as folder:
        async with site(Path(folder)) as place:
            history = page_history.History(place.platform.settings.mongo)
            await history.prepare(place.platform.database)
            result: dict[str, Any] = {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": {
                    "system": platform.platform(),
                    "cpus": os.cpu_count(),
                    "memory_mb": round(psutil.virtual_memory().total / 1e6),
                    "python": platform.python_version(),
                    "load": [round(one, 1) for one in os.getloadavg()],
                },
                "showcase": await showcases(place, history, arguments.requests),
                "viewers": await viewers(place, arguments.viewers),
                "lists": await lists(
                    place, history, arguments.models, arguments.runs, max(50, arguments.requests // 3)
                ),
            }
            history.close()
    return {**result, "goals": GOALS, "within": within(result)}


def within(result: dict[str, Any]) -> dict[str, bool]:
    """Say which goals hold."""
    showcase = max(one["p95_ms"] for one in result["showcase"].values())
    listed = max(one["p95_ms"] for one in result["lists"]["pages"].values())
    return {
        "showcase": showcase <= GOALS["showcase_p95_ms"],
        "viewers": result["viewers"]["after"]["pss_mb"] <= GOALS["viewers_pss_mb"],
        "lists": listed <= GOALS["lists_p95_ms"],
        "revocation": result["viewers"]["revocation_told_in_s"] <= GOALS["revocation_s"],
    }


def text(result: dict[str, Any]) -> str:
    """Format a measurement for people."""
    rows = {f"showcase, {name}": one for name, one in result["showcase"].items()} | result["lists"]["pages"]
    lines = [f"{name:<44} {one['p50_ms']:7.1f} {one['p95_ms']:7.1f} ms" for name, one in rows.items()]
    viewed = result["viewers"]
    before, after = viewed["before"], viewed["after"]
    return "\n".join(
        [
            f"{result['date']}  {result['machine']}",
            f"{'':<44} {'p50':>7} {'p95':>7}",
            *lines,
            f"{viewed['viewers']} viewers, told of a revocation in {viewed['revocation_told_in_s']} s",
            f"PSS {before['pss_mb']} -> {after['pss_mb']} MB, RSS {before['rss_mb']} -> {after['rss_mb']} MB",
            f"within: {result['within']}",
        ]
    )


def main() -> int:
    """Measure and print; the exit status says whether numbers were had, not whether they are good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--requests", type=int, default=300, help="for each page that is timed")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments))
    sys.stdout.write((json.dumps(result, indent=2) if arguments.json else text(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
