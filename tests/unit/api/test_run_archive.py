"""What a run's archive is made of: no name leads out of it, and none hides another."""

from __future__ import annotations

import json

from vitrine_api.blindness import EVERYTHING
from vitrine_api.run_archive import entries_of
from vitrine_api.run_code import LONG
from vitrine_api.runs import RunRecord
from vitrine_common.clock import utcnow
from vitrine_common.documents import Output, Run, RunRequest
from vitrine_common.states import RunState

DIGEST = "sha256:" + "0" * 64


def test_names_stay_inside_and_apart() -> None:
    names = ["../../etc/passwd", "..\\..\\x.dll", "a.png", "A.PNG", "a.png", "/", "\0", "n" * 5000 + ".png"]
    files = [Output(name="f", type="file", digest=DIGEST, size=1, filename=name) for name in names]
    values = [Output(name="said", type="text", value='"hello"'), Output(name="n", type="number", value="3")]
    request = RunRequest(
        id="run_x",
        version_id="version_x",
        version_digest="",
        environment_digest="",
        owner_id="user_x",
        inputs=json.dumps({"text": "short", "story": "x" * (LONG + 1)}),
        expires_at=utcnow(),
    )
    run = Run(
        id="run_x",
        version_id="version_x",
        version_digest="",
        owner_id="user_x",
        state=RunState.SUCCEEDED,
        outputs=[*files, *values],
    )
    entries = entries_of(RunRecord(request, run), None, EVERYTHING)
    paths = [entry.path for entry in entries]
    assert len({path.lower() for path in paths}) == len(paths)
    assert all(".." not in path.split("/") and path.count("/") <= 1 and "\\" not in path for path in paths)
    assert {"outputs/passwd", "outputs/x.dll", "outputs/a.png", "outputs/A-2.PNG", "outputs/a-3.png"} <= set(
        paths
    )
    assert max(map(len, paths)) < 255
    by_path = {entry.path: entry for entry in entries}
    assert by_path["outputs/said.txt"].data == b"hello"
    assert by_path["outputs/n.json"].data == b"3"
    assert by_path["inputs/story.txt"].data == b"x" * (LONG + 1)
    assert json.loads(by_path["inputs.json"].data)["text"] == "short"
    assert json.loads(by_path["run.json"].data)["files"] == paths[1:]
