"""A model that is not Python: R from Debian, pushed, built, and run by a link."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from stack_desk import EXAMPLES, StackDesk
from vitrine_builder.system import Base

# The first time on a machine, a base is made and R fetched; both are kept beside the environments.
pytestmark = pytest.mark.timeout(600)
SAMPLE = EXAMPLES / "r-growth" / "samples" / "orange-trees.csv"


@pytest.mark.usefixtures("system_base")
def test_a_growth_curve_in_r_from_push_to_plot(stack: StackDesk) -> None:
    version = stack.push(EXAMPLES / "r-growth")
    assert version["state"] == "ready", version.get("build_problem")

    run = stack.run(version["reference"], measurements=SAMPLE)
    assert run["state"] == "succeeded", run
    with stack.api() as api:
        image = api.get(f"/runs/{run['id']}/outputs/plot").raise_for_status().content
    with Image.open(io.BytesIO(image)) as plot:
        assert (plot.format, plot.size) == ("PNG", (960, 640))
        colours = {colour for _, colour in plot.convert("RGB").getcolors(1 << 20) or ()}
    assert (0xC1, 0x12, 0x1F) in colours, "the curve was not drawn"
    fit = next(output["value"] for output in run["outputs"] if output["name"] == "fit")
    assert fit["points"] == 35
    assert fit["limit"] == pytest.approx(192.687, rel=1e-4)

    environment = stack.mongo()["environments"].find_one({"_id": version["environment_digest"]})
    assert any(name.startswith("r-base-core=") for name in environment["system"])
    assert environment["system_digest"].startswith("sha256:")


def test_a_misspelt_package_is_named_with_its_neighbour(stack: StackDesk, system_base: Base) -> None:
    text = "name: misspelt\nmodel: {command: Rscript x.R}\npackage: {type: apt, requirements: [r-base-cor]}\n"
    version = stack.push(stack.bundle("misspelt", {"vitrine.yaml": text, "x.R": "cat(1)\n"}))
    assert version["state"] == "build_failed", system_base.digest
    problem = version["build_problem"]
    assert (problem["reason"], problem["culprit"]) == ("no_such_package", "r-base-cor")
    assert "`r-base-core`" in problem["message"]
