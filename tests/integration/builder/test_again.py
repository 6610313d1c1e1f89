"""An environment that was removed is made again, as it was, for whoever wants to use it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from builder_desk import Desk
from builder_stores import make_catalogue
from vitrine_common.shelf import EnvironmentGone, Shelf

pytestmark = pytest.mark.timeout(120)


async def test_who_wants_an_environment_that_is_gone_waits_until_it_is_there(
    desk: Desk, tmp_path: Path
) -> None:
    catalogue = make_catalogue(tmp_path, 3)
    desk.environment["UV_DEFAULT_INDEX"] = catalogue.index
    await desk.start()
    build = await desk.end(await desk.request(catalogue.text(catalogue.names).decode()))
    assert build.environment_digest is not None, build.problem
    before = json.loads((desk.path(build) / "environment.json").read_text())
    for layer in desk.layers():
        shutil.rmtree(desk.environments / ".builder/layers" / layer)
    shutil.rmtree(desk.path(build))

    shelf = Shelf(desk.environments, desk.bus, desk.database)

    async def use() -> list[str]:
        async with shelf.held(build.environment_digest or "") as environment:
            return catalogue.missing(environment, catalogue.names)

    assert not any(await asyncio.gather(use(), use(), use()))
    after = json.loads((desk.path(build) / "environment.json").read_text())
    assert (after["digest"], after["packages"]) == (before["digest"], before["packages"])

    with pytest.raises(EnvironmentGone, match="push the version again"):
        async with shelf.held("sha256:" + "0" * 64):
            pass
    with pytest.raises(EnvironmentGone, match="must share VITRINE_ENVIRONMENTS_DIR"):
        async with Shelf(desk.environments).held("sha256:" + "0" * 64):
            pass
