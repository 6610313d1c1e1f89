"""Traces, each in a process of its own: OpenTelemetry's provider is set once in a process's life."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

TRACED = """
import json, os, sys
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vitrine_common.telemetry import configure_tracing, inject, record_remote_span, span

exporter = InMemorySpanExporter()
configure_tracing("test", exporter)

def report(**more):
    spans = [
        {
            "name": each.name,
            "trace": f"{each.context.trace_id:032x}",
            "id": f"{each.context.span_id:016x}",
            "parent": each.parent and f"{each.parent.span_id:016x}",
            "attributes": dict(each.attributes),
            "start": each.start_time,
            "end": each.end_time,
            "failed": not each.status.is_ok,
            "service": each.resource.attributes["service.name"],
        }
        for each in exporter.get_finished_spans()
    ]
    print(json.dumps({"spans": {each["name"]: each for each in spans}, **more}))
"""


def run(program: str, **environment: str) -> dict[str, Any]:
    """Run a program in a process of its own; it prints one JSON object."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_a_span_continues_the_trace_of_another_process() -> None:
    sender = run(TRACED + "with span('request', route='/runs'): carrier = inject()\nreport(carrier=carrier)")
    parent = sender["spans"]["request"]
    assert set(sender["carrier"]) == {"traceparent"}
    program = """
with span("handle", parent=json.loads(os.environ["CARRIER"])):
    with span("inner"): pass
report()
"""
    receiver = run(TRACED + program, CARRIER=json.dumps(sender["carrier"]))["spans"]
    assert (receiver["handle"]["trace"], receiver["handle"]["parent"]) == (parent["trace"], parent["id"])
    assert (receiver["inner"]["trace"], receiver["inner"]["parent"]) == (
        parent["trace"],
        receiver["handle"]["id"],
    )
    assert parent["attributes"] == {"route": "/runs"}
    assert parent["service"] == "vitrine-test"


def test_an_unusable_carrier_begins_a_new_trace() -> None:
    program = """
for number, carrier in enumerate([{}, {"traceparent": "nonsense"}, {"traceparent": "00-0-0-01"}]):
    with span(f"handle {number}", parent=carrier): pass
report(outside=inject())
"""
    told = run(TRACED + program)
    assert [span["parent"] for span in told["spans"].values()] == [None, None, None]
    assert len({span["trace"] for span in told["spans"].values()}) == 3
    assert told["outside"] == {}


def test_what_a_sandbox_measured_hangs_below_the_present_span() -> None:
    program = """
with span("run"):
    record_remote_span("load", 1_000_000_000, 1_500_000_000, {"model": "m"})
report()
"""
    spans = run(TRACED + program)["spans"]
    assert spans["load"]["parent"] == spans["run"]["id"]
    assert (spans["load"]["start"], spans["load"]["end"]) == (1_000_000_000, 1_500_000_000)
    assert spans["load"]["attributes"] == {"model": "m"}


def test_an_exception_marks_the_span_and_goes_on() -> None:
    program = """
try:
    with span("handle"): raise ValueError("bad")
except ValueError as error:
    report(raised=str(error))
"""
    told = run(TRACED + program)
    assert told["raised"] == "bad"
    assert told["spans"]["handle"]["failed"]


def test_without_an_exporter_ids_travel_and_nothing_is_recorded_or_imported() -> None:
    program = """
import json, sys
from vitrine_common.telemetry import configure_tracing, inject, span
configure_tracing("api")
with span("outer") as outer:
    first = inject()
    with span("inner", parent=first) as inner:
        print(json.dumps({
            "same": inner.get_span_context().trace_id == outer.get_span_context().trace_id != 0,
            "recording": inner.is_recording(),
            "carrier": first,
            "exporter": [name for name in sys.modules if "otlp" in name or name == "requests"],
        }))
"""
    told = run(program)
    assert told["same"]
    assert not told["recording"]
    assert told["carrier"]["traceparent"].startswith("00-")
    assert told["exporter"] == []


def test_an_endpoint_in_the_environment_brings_the_exporter() -> None:
    program = """
import json, sys
from vitrine_common.telemetry import configure_tracing, span
provider = configure_tracing("api")
with span("x") as opened:
    recording = opened.is_recording()
exporter = any("otlp.proto.http" in name for name in sys.modules)
print(json.dumps({"recording": recording, "exporter": exporter}))
sys.stdout.flush()
import os
os._exit(0)  # nobody listens at the endpoint: leave without the exporter's last attempt
"""
    told = run(program, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert told == {"recording": True, "exporter": True}


def test_a_log_line_names_the_span_that_it_was_written_in() -> None:
    program = """
import io, json, logging
from vitrine_common.telemetry import configure_logging, configure_tracing, inject, span
configure_tracing("api")
from vitrine_common.telemetry.logs import JsonFormatter
stream = io.StringIO()
handler = logging.StreamHandler(stream)
handler.setFormatter(JsonFormatter("api"))
logging.getLogger().addHandler(handler)
with span("x"):
    logging.getLogger("a").warning("within")
    carrier = inject()
logging.getLogger("a").warning("outside")
within, outside = map(json.loads, stream.getvalue().splitlines())
print(json.dumps({"within": within, "outside": outside, "carrier": carrier}))
"""
    told = run(program)
    _, trace_id, span_id, _ = told["carrier"]["traceparent"].split("-")
    assert (told["within"]["trace_id"], told["within"]["span_id"]) == (trace_id, span_id)
    assert "trace_id" not in told["outside"]
