"""What traces tell of a request; in a process of its own, for a tracer provider is set once in a life."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import asyncio, json, httpx
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from vitrine_api.app import create_app
from vitrine_api.settings import ApiSettings
from vitrine_common.service import make_platform
from vitrine_common.settings import PlatformSettings, S3Settings
from vitrine_common.telemetry import configure_tracing

async def main():
    exporter = InMemorySpanExporter()
    configure_tracing("api", exporter)
    settings = PlatformSettings(s3=S3Settings(secret_key=SecretStr("x")))
    app = create_app(make_platform("api", settings), ApiSettings())
    parent = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api") as client:
        await client.get("/signup", params={"invite": "SECRET-CODE"}, headers=parent)
        await client.get("/s/SECRET-TOKEN/no/such/page")
    print(json.dumps([json.loads(span.to_json()) for span in exporter.get_finished_spans()]))

asyncio.run(main())
"""


def test_spans_name_routes_and_hold_no_secret_of_an_address() -> None:
    made = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert "SECRET" not in made.stdout
    spans = json.loads(made.stdout)
    assert [span["name"] for span in spans] == ["GET /signup", "GET no route"]
    assert spans[0]["context"]["trace_id"] == "0x" + "a" * 32
    assert spans[0]["attributes"]["http.response.status_code"] == 200
