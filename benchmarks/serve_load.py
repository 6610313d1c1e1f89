"""The load of `serve.py`: one process that calls one address for a while and prints what it saw, as JSON.

usage: serve_load.py --port P --path PATH --body FILE [--header 'NAME: VALUE']... --concurrency N --seconds S

Connections are kept, requests are ready-made bytes, and of an answer only its status and its end are read:
the same for every server, and as little as possible of the two cores that they share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Caller(asyncio.Protocol):
    """One connection: sends the request again as soon as the answer is complete."""

    def __init__(self, request: bytes, ends: float) -> None:
        self.request = request
        self.ends = ends
        self.latencies: list[float] = []
        self.failed: list[str] = []
        self.done = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are of no class that asyncio knows.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Read on to the end of the answer."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head + 2)
        if length is not None:
            complete = len(self._buffer) >= head + 4 + int(length[1])
        else:
            complete = self._buffer.endswith(b"0\r\n\r\n")
        if not complete:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._began)
        if self._buffer[9:12] != b"200":
            self.failed.append(bytes(self._buffer[:400]).decode(errors="replace"))
        self._buffer.clear()
        if now < self.ends and len(self.failed) < 10:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        if exc is not None or time.perf_counter() < self.ends:
            self.failed.append(f"the connection ended: {exc}")
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self.request)


async def load(arguments: argparse.Namespace, body: bytes) -> dict[str, object]:
    """Call, and return latencies (ms) and the rate."""
    headers = [f"Host: 127.0.0.1:{arguments.port}", f"Content-Length: {len(body)}", *arguments.header]
    request = "\r\n".join([f"POST {arguments.path} HTTP/1.1", *headers, "", ""]).encode() + body
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    callers = []
    for _ in range(arguments.concurrency):
        caller = Caller(request, began + arguments.seconds)
        await loop.create_connection(partial(_same, caller), "127.0.0.1", arguments.port)
        callers.append(caller)
    await asyncio.gather(*(caller.done for caller in callers))
    took = time.perf_counter() - began
    times = sorted(value * 1000 for caller in callers for value in caller.latencies)
    failed = [text for caller in callers for text in caller.failed]
    return {
        "calls": len(times),
        "failed": len(failed),
        "first_failure": failed[0] if failed else None,
        "p50_ms": round(times[len(times) // 2], 3) if times else None,
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 3) if times else None,
        "per_second": round(len(times) / took, 1),
    }


def _same(caller: Caller) -> Caller:
    return caller


def main() -> None:
    """Print what was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--body", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    print(json.dumps(uvloop.run(load(arguments, Path(arguments.body).read_bytes()))))


if __name__ == "__main__":
    main()
