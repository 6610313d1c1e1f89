"""The main job on this machine: train, register, build, share, open the link, run it on a real digit.

Prints what happens, and writes `.demo/summary.json`. Everything runs on the embedded stack with real
servers and a real sandbox; the digit is drawn from the split that the training never saw.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from vitrine.stack.cells import serving

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".demo"
DATA = FOLDER / "data"
EXAMPLE = ROOT / "examples" / "digits"
VITRINE = str(Path(sys.executable).with_name("vitrine"))
DRAWS = 5
"""A model that reads 98 of 100 digits misreads one now and then; the demo says so and draws another."""


class DemoFailed(Exception):
    """The demo's promise does not hold; the message says which."""


class Demo:
    """One demonstration. `steps` are seconds by name."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps: dict[str, float] = {}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "VITRINE_CONFIG_DIR": str(FOLDER / "config"),
        }

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Time a step and tell of it."""
        sys.stdout.write(f"  {title:<46} ")
        sys.stdout.flush()
        started = time.monotonic()
        yield
        self.steps[name] = round(time.monotonic() - started, 2)
        sys.stdout.write(f"{self.steps[name]:6.2f} s\n")

    def vitrine(self, *arguments: str) -> dict[str, Any]:
        """Run a `vitrine` command and return its JSON; raises DemoFailed with what it said."""
        done = subprocess.run(
            [VITRINE, *arguments, "--json"],
            env=self.environment,
            cwd=FOLDER,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"vitrine {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def up(self) -> dict[str, Any]:
        """Start the stack, unless an earlier demo left it running, and return its state."""
        with self.step("up", "start NATS, database, S3 and five services"):
            try:
                return self.state()
            except DemoFailed:
                self.vitrine("up", "--detach", "--data-dir", str(DATA))
                return self.state()

    def state(self) -> dict[str, Any]:
        """Return what runs; raises DemoFailed unless all of it is healthy."""
        return self.vitrine("status", "--data-dir", str(DATA))

    def down(self) -> None:
        """Stop the stack; nothing of it keeps running."""
        with self.step("down", "stop everything"):
            self.vitrine("down", "--data-dir", str(DATA))

    def train(self) -> dict[str, Any]:
        """Train the example; return the trial."""
        with self.step("train", "train on 1,437 handwritten digits, in a sandbox"):
            return self.vitrine("train", str(EXAMPLE))

    def ready(self, reference: str, url: str, token: str) -> dict[str, Any]:
        """Wait until the trained version can run; return it."""
        path = "/api/v1/versions/" + reference.replace("@", "/")
        with self.step("build", "build the serving environment"):
            while True:
                version = get(url + path, token)
                if version["state"] != "building":
                    break
                time.sleep(0.1)
        if version["state"] != "ready":
            raise DemoFailed(f"the version is {version['state']}: {version['build_problem']}")
        return version

    def draw(self, site_packages: Path, number: int) -> tuple[Path, int]:
        """Write a held-out digit as PNG, with the packages of the training; return it and its true label."""
        folder = FOLDER / "digits" / str(number)
        script = [str(EXAMPLE / "heldout.py"), "--seed", str(self.seed + number), "--out", str(folder)]
        subprocess.run(
            [sys.executable, *script],
            check=True,
            capture_output=True,
            env={**self.environment, "PYTHONPATH": str(site_packages)},
        )
        return folder / "digit.png", int(json.loads((folder / "label.json").read_text())["label"])

    def reproduce(self, site_packages: Path, link: str) -> dict[str, Any]:
        """Push the held-out digits as a dataset and have the claim checked by the link; return the check."""
        folder = FOLDER / "heldout"
        with self.step("claim", "push the test set, reproduce the claimed accuracy"):
            subprocess.run(
                [sys.executable, str(EXAMPLE / "heldout.py"), "--dataset", "--out", str(folder)],
                check=True,
                capture_output=True,
                env={**self.environment, "PYTHONPATH": str(site_packages)},
            )
            self.vitrine("data", "push", str(folder), "--name", "digits-heldout")
            (check,) = self.vitrine("reproduce", link)["checks"]
        return dict(check)


def get(url: str, token: str) -> dict[str, Any]:
    """Return what the api answers to the owner."""
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body


def review(link: str, digit: Path) -> tuple[dict[str, Any], float]:
    """Do what a reviewer does: no account, only the link. Return the finished run and milliseconds."""
    base, token = link.rsplit("/s/", 1)
    with httpx.Client(timeout=60) as browser:
        started = time.monotonic()
        answer = browser.post(
            f"{base}/api/v1/links/{token}/runs",
            files={"input.image": ("digit.png", digit.read_bytes(), "image/png")},
            headers={"Prefer": "wait=60"},
        )
        took = (time.monotonic() - started) * 1000
    answer.raise_for_status()
    run: dict[str, Any] = answer.json()
    if run["state"] != "succeeded":
        raise DemoFailed(f"the run {run['state']}: {run['message']}")
    return run, round(took, 1)


def label_of(run: dict[str, Any]) -> int:
    """Return the predicted digit."""
    values = {output["name"]: output["value"] for output in run["outputs"]}
    return int(values["digit"]["label"])


def measure(demo: Demo, workers: Callable[[], list[int]], link: str, site_packages: Path) -> dict[str, Any]:
    """Run held-out digits through the link until one is read right; the first run finds no worker."""
    if alive := workers():
        raise DemoFailed(f"a worker is alive before the first run: {alive}")
    misread: list[dict[str, int]] = []
    cold_ms: float | None = None
    with demo.step("review", "open the link and run it on a real digit"):
        page = httpx.get(link, timeout=30)
        page.raise_for_status()
        for number in range(DRAWS):
            digit, expected = demo.draw(site_packages, number)
            run, took = review(link, digit)
            cold_ms = took if cold_ms is None else cold_ms
            if label_of(run) == expected:
                break
            misread.append({"expected": expected, "prediction": label_of(run)})
        else:
            raise DemoFailed(f"{DRAWS} digits in a row were misread: {misread}")
    if not workers():
        raise DemoFailed("the run left no worker in the process table")
    with demo.step("warm", "run it ten times more, warm"):
        warm = sorted(review(link, digit)[1] for _ in range(10))
    return {
        "digit": str(digit),
        "prediction": label_of(run),
        "expected": expected,
        "misread_before": misread,
        "cold_run_ms": cold_ms,
        "warm_run_ms": warm[len(warm) // 2],
    }


def demonstrate(seed: int) -> dict[str, Any]:
    """Do the main job and return the summary; the stack keeps running."""
    demo = Demo(seed)
    state = demo.up()
    token = str(json.loads((DATA / "account.json").read_text())["token"])
    trial = demo.train()
    accuracy = float(trial["metrics"]["accuracy"])
    if accuracy < 0.9:
        raise DemoFailed(f"the accuracy on the held-out digits is {accuracy:.3f}, below 0.9")
    version = demo.ready(trial["version"], state["url"], token)
    with demo.step("share", "make a share link"):
        link = demo.vitrine("share", trial["version"], "--expires", "14d")["url"]
    environment = DATA / "environments" / trial["environment_digest"].removeprefix("sha256:")
    (site_packages,) = environment.glob("lib/python*/site-packages")
    runner = state["parts"]["runner"]["pid"]
    measured = measure(demo, lambda: serving(runner, version["digest"]), link, site_packages)
    check = demo.reproduce(site_packages, link)
    scored = get(f"{state['url']}/api/v1/versions/{trial['version'].replace('@', '/')}/monitor", token)
    return {
        "link": link,
        "version": trial["version"],
        "version_digest": version["digest"],
        "accuracy": accuracy,
        "seed": seed,
        **measured,
        "claim": {name: check[name] for name in ("claim", "verdict", "expected", "measured", "spread")},
        "scored_runs": scored["window"]["runs"],
        "steps": demo.steps,
    }


def main() -> None:
    """Demonstrate; exit with 1 when a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    shutil.rmtree(FOLDER / "digits", ignore_errors=True)
    sys.stdout.write("Vitrine demo\n")
    started = time.monotonic()
    try:
        summary = demonstrate(options.seed)
        failure = None
    except (DemoFailed, httpx.HTTPError) as error:
        summary, failure = {}, error
    if failure is not None or not options.keep:
        Demo(options.seed).down()
    if failure is not None:
        sys.exit(f"demo failed: {failure}\nLogs: {DATA / 'logs'}")
    summary["total_s"] = round(time.monotonic() - started, 2)
    (FOLDER / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    claim = summary["claim"]
    sys.stdout.write(
        f"\n  held-out accuracy {summary['accuracy']:.3f}; the drawn digit is a {summary['expected']}"
        f" and was read as {summary['prediction']}\n"
        f"  claimed {claim['expected']}, measured {claim['measured']:.4f}, twice: {claim['verdict']}\n"
        f"  first run {summary['cold_run_ms']} ms with no worker, then {summary['warm_run_ms']} ms\n"
        f"  link {summary['link']}{'' if options.keep else '   (stopped; make demo KEEP=1 keeps it open)'}\n"
        f"  summary {FOLDER / 'summary.json'}\n"
    )


if __name__ == "__main__":
    main()
