"""Checks of claims on a real runner: repeats in sandboxes, datasets read-only, verdicts, hostile commands."""

from __future__ import annotations

import json

import pytest

from claim_site import ask_check, check_reached, checked, claim_of, dataset, own_input
from runner_site import Site
from vitrine_common.clock import after
from vitrine_common.digests import sha256_bytes
from vitrine_common.messages import ClaimCancel, LinkRevoked
from vitrine_common.states import CLAIM_CHECK, ClaimState, Reason

READS_DATA = """
import json, os, pathlib
root = pathlib.Path(os.environ["VITRINE_DATA_DIR"])
assert os.environ["VITRINE_DATASET_HELD"] == str(root)
numbers = [float(path.read_text()) for path in sorted(root.rglob("*.txt"))]
print("some remark")
print(json.dumps({"mean": sum(numbers) / len(numbers), "where": str(root)}))
print("bye")
"""


async def test_a_claim_on_a_dataset_is_reproduced_in_every_repeat(site: Site) -> None:
    await site.start()
    held = await dataset(site, {"a.txt": b"0.8", "deep/b.txt": b"1.0"})
    claim = claim_of(metric="mean", dataset="held@1", repeats=3, tolerance=0.001)
    check = await checked(site, READS_DATA, claim, dataset=held)
    assert (check.state, check.message, check.reason) == (ClaimState.REPRODUCED, "", None)
    assert [repeat.value for repeat in check.repeats] == [0.9, 0.9, 0.9]
    assert (check.measured, check.spread, check.expected) == (0.9, 0.0, 0.9)
    assert check.peak_memory_bytes
    assert check.conditions is not None
    assert all(repeat.duration_ms and repeat.exit_code == 0 for repeat in check.repeats)
    assert check.tally == "accuracy:reproduced"


async def test_a_number_beyond_the_tolerance_differs_and_repeats_begin_afresh(site: Site) -> None:
    await site.start()
    code = """
import json, os, pathlib
assert not pathlib.Path("left").exists() and not pathlib.Path("/tmp/left").exists()
pathlib.Path("left").write_text("x"); pathlib.Path("/tmp/left").write_text("x")
number = 0.1 * int(os.environ["VITRINE_REPEAT"])
pathlib.Path("result.json").write_text(json.dumps({"test": {"acc": [number]}}))
"""
    check = await checked(site, code, claim_of(metric="result.json:test.acc.0", repeats=2))
    assert check.state is ClaimState.DIFFERS
    assert [repeat.value for repeat in check.repeats] == [0.1, 0.2]
    assert check.measured == pytest.approx(0.15)
    assert check.spread == pytest.approx(0.0707, abs=1e-4)


async def test_the_dataset_cannot_be_written_and_nothing_else_is_seen(site: Site) -> None:
    await site.start()
    other = await dataset(site, {"secret.txt": b"of somebody else"}, "other")
    held = await dataset(site, {"a.txt": b"0.9"})
    code = f"""
import json, os, pathlib, socket
root = pathlib.Path(os.environ["VITRINE_DATA_DIR"])
wrong = []
for attempt in (lambda: (root / "a.txt").write_text("1"), lambda: (root / "new").write_text("1"),
                lambda: (root / "a.txt").unlink(), lambda: pathlib.Path("/data/more").mkdir(),
                lambda: os.chmod(root / "a.txt", 0o666), lambda: os.listdir("/data/other")):
    try:
        attempt()
    except OSError:
        continue
    wrong.append("possible")
if os.listdir("/data") != ["held"]:
    wrong.append(str(os.listdir("/data")))
for place, _, names in os.walk("/"):
    if place.startswith(("/proc", "/sys", "/usr", "/opt", "/env")):
        continue
    wrong += [place for name in names if name in {{"secret.txt", "{other.digest[7:]}"}}]
try:
    socket.create_connection(("1.1.1.1", 53), 0.2)
    wrong.append("network")
except OSError:
    pass
print(json.dumps({{"n": len(wrong), "wrong": wrong}}))
"""
    claim = claim_of(metric="n", dataset="held@1", expected=0, repeats=2)
    first = await checked(site, code, claim_of(metric="n", dataset="other@1", expected=0), dataset=other)
    assert first.state is ClaimState.DIFFERS, "the probe finds what lies there"
    check = await checked(site, code, claim, dataset=held)
    assert check.state is ClaimState.REPRODUCED, check.repeats
    assert await site.blobs.get_bytes(sha256_bytes(b"0.9"), 100) == b"0.9"


async def test_files_of_the_reviewer_are_seen_beside_the_dataset_and_do_not_count(site: Site) -> None:
    await site.start()
    held = await dataset(site, {"a.txt": b"0.8", "mine/own-1-b.txt": b"7"})
    own = await own_input(site, "own-1-b.txt", b"1.0", "a label")
    code = READS_DATA + "print((root / 'mine' / 'own.json').read_text())"
    fields = {"metric": "mean", "dataset": "held@1", "extend": {"path": "mine"}}
    check = await checked(
        site, code.replace('print("bye")', ""), claim_of(**fields), dataset=held, own_inputs=[own]
    )
    assert check.state is ClaimState.FAILED, "the last line of JSON is own.json"
    assert "mean" in check.message
    assert json.loads(check.repeats[0].log_tail.strip().splitlines()[-1]) == {"own-1-b.txt": "a label"}
    check = await checked(site, READS_DATA, claim_of(**fields), dataset=held, own_inputs=[own])
    assert (check.state, check.own_inputs, check.tally) == (ClaimState.REPRODUCED, 1, "")
    plain = await checked(site, READS_DATA, claim_of(**fields, expected=3.9), dataset=held)
    assert plain.state is ClaimState.REPRODUCED, "the store's dataset is as it was"


async def test_a_dataset_in_the_bundle_can_be_extended_too(site: Site) -> None:
    await site.start()
    code = """
import json, os, pathlib
root = pathlib.Path(os.environ["VITRINE_DATA_DIR"])
print(json.dumps({"n": len(list(root.rglob("*.txt")))}))
"""
    claim = claim_of(metric="n", expected=2, dataset="./data", extend={})
    digest = await site.push(
        {"model": {"command": "python main.py"}, "claims": [claim.plain()]},
        {"main.py": code, "data/a.txt": "1"},
    )
    own = await own_input(site, "own-1.txt", b"2")
    check = await check_reached(
        site, await ask_check(site, digest, claim, own_inputs=[own]), *CLAIM_CHECK.final
    )
    assert check.state is ClaimState.REPRODUCED, check


@pytest.mark.parametrize(
    ("code", "metric", "says"),
    [
        ("print('{\"a\": NaN}')", "a", "NaN"),
        ("print('{\"a\": 1e999}')", "a", "not finite"),
        ("print('{\"b\": 1}')", "a", "nothing at `a`"),
        ("print('{\"a\": true}')", "a", "is no number"),
        ("print('[' * 100000)", "a", "JSON"),
        ("print('nothing here')", "a", "no line of JSON"),
        ("open('r.json', 'w').write(' ' * (3 << 20) + '1')", "r.json:", "more than"),
        ("import os; os.symlink('/etc/passwd', 'r.json')", "r.json:", "no file that matches"),
        ("import os; os.mkdir('r.json'); open('r.json/x', 'w').write('1')", "r.json:", "no such file"),
        ("raise SystemExit('the model is gone')", "a", "the model is gone"),
    ],
)
async def test_what_gives_no_number_fails_and_says_why(site: Site, code: str, metric: str, says: str) -> None:
    if not site.hosts:
        await site.start()
    check = await checked(site, code, claim_of(metric=metric, repeats=3))
    assert (check.state, len(check.repeats)) == (ClaimState.FAILED, 1), check
    assert check.repeats[0].reason in {Reason.USER_ERROR, Reason.OUTPUT_TOO_LARGE}
    assert says in check.message
    assert check.repeats[0].value is None


async def test_a_check_is_cancelled_while_it_waits_and_while_it_works(site: Site) -> None:
    await site.start()
    digest = await site.script("import time; print('begun', flush=True); time.sleep(60)")
    claim = claim_of(metric="a", repeats=2)
    working = await ask_check(site, digest, claim)
    await check_reached(site, working, ClaimState.RUNNING)
    waiting = await ask_check(site, digest, claim)
    await check_reached(site, waiting, ClaimState.QUEUED)
    for check_id in (waiting, working):
        await site.bus.send(ClaimCancel(check_id=check_id))
        ended = await check_reached(site, check_id, *CLAIM_CHECK.final)
        assert (ended.state, ended.reason, ended.tally) == (ClaimState.CANCELLED, Reason.CANCELLED, "")


async def test_a_revoked_link_ends_its_checks(site: Site) -> None:
    await site.start()
    digest = await site.script("import time; time.sleep(60)")
    claim = claim_of(metric="a")
    asked = [await ask_check(site, digest, claim, link_id=link) for link in ("link_1", "link_1", "link_2")]
    await check_reached(site, asked[0], ClaimState.RUNNING)
    await site.bus.send(LinkRevoked(link_id="link_1"))
    for check_id in asked[:2]:
        assert (await check_reached(site, check_id, *CLAIM_CHECK.final)).state is ClaimState.CANCELLED
    await check_reached(site, asked[2], ClaimState.RUNNING)
    await site.bus.send(ClaimCancel(check_id=asked[2]))
    await check_reached(site, asked[2], ClaimState.CANCELLED)


async def test_a_check_that_waited_too_long_expires(site: Site) -> None:
    claim = claim_of(metric="a")
    check_id = await ask_check(site, await site.script("pass"), claim, expires_at=after(-1))
    await site.start()
    assert (await check_reached(site, check_id, *CLAIM_CHECK.final)).state is ClaimState.EXPIRED


async def test_a_check_survives_the_kill_of_its_runner(site: Site) -> None:
    process = await site.spawn()
    code = """
import json, os, time
time.sleep(0.5 if os.environ["VITRINE_REPEAT"] == "1" else 1.5)
print(json.dumps({"a": 0.9}))
"""
    claim = claim_of(metric="a", repeats=2)
    check_id = await ask_check(site, await site.script(code), claim)
    before = await check_reached(site, check_id, ClaimState.RUNNING)
    process.kill()
    process.wait()
    await site.start()
    after_kill = await check_reached(site, check_id, *CLAIM_CHECK.final)
    assert after_kill.state is ClaimState.REPRODUCED, after_kill
    assert (before.attempt, after_kill.attempt) == (1, 2)
    assert len(after_kill.repeats) == 2


async def test_a_lost_dataset_is_the_platforms_fault_and_does_not_count(site: Site) -> None:
    await site.start(max_attempts=1)
    held = (await dataset(site, {"a.txt": b"1"})).model_copy(update={"digest": "sha256:" + "0" * 64})
    check = await checked(site, "pass", claim_of(metric="a", dataset="held@1"), dataset=held)
    assert (check.state, check.reason, check.tally) == (ClaimState.FAILED, Reason.PLATFORM_ERROR, "")
    assert "push the dataset again" in check.message
