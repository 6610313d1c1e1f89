"""Contracts: one subject one message, disjoint streams, ids that sort, envelopes that read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitrine_common.documents import COLLECTIONS
from vitrine_common.ids import new_id
from vitrine_common.messages import Command, Event, Message, Progress, RunFinished, RunStart, asyncapi, seal
from vitrine_common.messages.envelope import Exchange
from vitrine_common.messages.subjects import COMMANDS, DEAD_LETTERS, EVENTS, MESSAGES, ROUTES, subjects_of
from vitrine_common.outbox import read_envelope
from vitrine_common.states import RunState

ROOT = Path(__file__).parents[3]
SERVICES = {"api", "builder", "runner", "trainer", "monitor"}


def concrete(base: type[Message]) -> set[type[Message]]:
    return {kind for kind in base.__subclasses__() if "[" not in kind.__name__}


def test_every_message_has_a_route() -> None:
    declared = concrete(Command) | concrete(Event) | concrete(Progress) | concrete(Exchange)
    assert declared == {route.message for route in ROUTES}


def test_no_subject_is_kept_by_two_streams() -> None:
    commands, events, dead = (set(subjects_of(stream)) for stream in (COMMANDS, EVENTS, DEAD_LETTERS))
    assert not commands & events
    assert not (commands | events) & dead
    assert len(subjects_of(COMMANDS)) == len(commands)
    assert len(subjects_of(EVENTS)) == len(events)


def test_a_command_is_for_exactly_one_service() -> None:
    for route in ROUTES:
        assert set(route.senders) | set(route.receivers) <= SERVICES
        if issubclass(route.message, Command):
            assert len(route.receivers) == 1, route.message


def test_names_are_nouns_with_a_verb_or_a_past() -> None:
    for name, message in MESSAGES.items():
        noun, what = name.split(".")
        assert noun
        if issubclass(message, Event):
            assert what.endswith(("ed", "ready")), f"{name} is a fact and should be in the past"


def test_an_envelope_reads_back_from_its_text() -> None:
    for message in (
        RunStart(run_id="run_1"),
        RunFinished(run_id="r", version_id="v", state=RunState.EXPIRED),
    ):
        envelope = seal(message)
        back = read_envelope(envelope.model_dump_json())
        assert back.payload == message
        assert back.id == envelope.id


def test_unknown_fields_of_a_newer_sender_are_ignored() -> None:
    text = seal(RunStart(run_id="run_1")).model_dump_json().replace('"payload":{', '"payload":{"new":1,')
    assert read_envelope(text).payload == RunStart(run_id="run_1")


def test_ids_sort_by_time_and_stay_unique() -> None:
    ids = [new_id("run") for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert [i[:14] for i in ids] == sorted(i[:14] for i in ids)
    assert all("." not in i and i.islower() for i in ids)


def test_every_collection_has_one_writer() -> None:
    names = [document.COLLECTION for document in COLLECTIONS]
    assert len(names) == len(set(names))
    assert {document.WRITER for document in COLLECTIONS} <= SERVICES


def test_the_committed_asyncapi_document_is_up_to_date() -> None:
    committed = (ROOT / "docs/reference/asyncapi.json").read_text()
    assert committed == asyncapi.document(), "run infra/scripts/generated.sh write"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_services_import_no_other_service_and_libs_import_none(service: str) -> None:
    for path in (ROOT / "services" / service / f"vitrine_{service}").rglob("*.py"):
        for other in SERVICES - {service}:
            assert f"vitrine_{other}" not in path.read_text(), f"{path} imports {other}"
    for path in (ROOT / "libs").rglob("*.py"):
        text = path.read_text()
        assert f"import vitrine_{service}" not in text, path
        assert f"from vitrine_{service}" not in text, path
