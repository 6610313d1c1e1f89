"""How a large model gets to a runner: `benchmarks/bundles.py [--megabytes N] [--versions N] [--json]`.

Stores a model of that size in an S3 server of its own (rclone, over loopback) and takes it to this host as a
runner does, each step in a fresh process: by one plain request; as a version, in parts; as a second version
that differs in its code; and again in a later process. Then a sandbox maps the weights of both. At last a
process opens a cache of many small versions and uses none of them.

Peak memory is the process's own, without the page cache. Everything is read back from the page cache where it
fits: numbers of the disk are not in here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from pydantic import SecretStr

from servers import s3_server
from vitrine_common.blobs import BlobStore
from vitrine_common.bundle import FileEntry, Manifest
from vitrine_common.digests import canonical_json
from vitrine_common.settings import S3Settings
from vitrine_engine import Finished, Limits, Log, RunRequest, SandboxSpec, ScriptModel
from vitrine_engine.process import ProcessEngine
from vitrine_runner.bundles import Bundles

MB = 1_000_000
ROOM = 1 << 50
SPEC = {"name": "large", "model": {"command": "python main.py"}}
TOUCH = """
import mmap, time
began = time.monotonic()
with open("weights.bin", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    print(len(mapped[::4096]) and time.monotonic() - began)
"""


async def stored(blobs: BlobStore, files: dict[str, tuple[str, int]], code: bytes) -> str:
    """Store a version of `files` and one more that is its code; return its digest."""
    main = FileEntry(path="main.py", digest=await blobs.put_bytes(code), size=len(code))
    entries = [FileEntry(path=path, digest=digest, size=size) for path, (digest, size) in files.items()]
    manifest = Manifest(spec=SPEC, files=(*entries, main))
    return await blobs.put_bytes(canonical_json(manifest.model_dump(mode="json")))


def resident() -> int:
    """Return the bytes of this process's memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Return the most bytes that this process's memory had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def reset_peak() -> None:
    """Let the peak be that from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def on_disk(directory: Path) -> int:
    """Return the bytes that a directory takes, what is linked several times once."""
    found = {path.stat().st_ino: path.stat().st_blocks * 512 for path in directory.rglob("*")}
    return sum(found.values())


async def plain(blobs: BlobStore, folder: Path, digest: str) -> dict[str, float]:
    """One request for everything, hashed as it arrives."""
    await blobs.download_to(digest, folder / "plain")
    (folder / "plain").unlink()
    return {}


async def materialise(blobs: BlobStore, folder: Path, digest: str) -> dict[str, float]:
    """Take a version as a runner does."""
    bundles = Bundles(folder / "bundles", blobs, ROOM)
    bundles.open()
    async with bundles.held(digest):
        return {}


async def open_many(blobs: BlobStore, folder: Path, _digest: str) -> dict[str, float]:
    """Begin where many versions lie, and take none of them."""
    bundles = Bundles(folder / "many", blobs, ROOM)
    before = resident()
    bundles.open()
    return {"grown_bytes": resident() - before, "sets": sum(1 for _ in (folder / "many/sets").iterdir())}


STEPS = {"plain": plain, "materialise": materialise, "open_many": open_many}


async def child(step: str, folder: Path, digest: str) -> None:
    """Do one step in this process and print what it took."""
    blobs = BlobStore(S3Settings())
    await blobs.exists("sha256:" + "0" * 64)
    base = resident()
    reset_peak()
    began = time.monotonic()
    found = await STEPS[step](blobs, folder, digest)
    took = time.monotonic() - began
    peak = peak_memory() - base
    await blobs.aclose()
    print(json.dumps({"seconds": took, "peak_bytes": peak, **found}))


def measured(step: str, folder: Path, digest: str, settings: S3Settings) -> dict[str, float]:
    """Do one step in a process of its own."""
    environment = {
        "VITRINE_S3_ENDPOINT": settings.endpoint,
        "VITRINE_S3_ACCESS_KEY": settings.access_key,
        "VITRINE_S3_SECRET_KEY": settings.secret_key.get_secret_value(),
        "VITRINE_S3_BUCKET": settings.bucket,
    }
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder), "--digest", digest]
    ran = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    taken: dict[str, float] = json.loads(ran.stdout)
    return taken


async def touched(folder: Path, blobs: BlobStore, digests: list[str]) -> list[dict[str, float]]:
    """Let a sandbox of each version map its weights and touch every page."""
    found = []
    bundles = Bundles(folder / "bundles", blobs, ROOM)
    bundles.open()
    engine = ProcessEngine(folder / "engine")
    limits = Limits(memory_bytes=512 << 20, disk_bytes=64 << 20)
    async with AsyncExitStack() as holds:
        holds.push_async_callback(engine.aclose)
        for number, digest in enumerate(digests):
            bundle = await holds.enter_async_context(bundles.held(digest))
            sandbox = await engine.start(SandboxSpec(id=f"s{number}", bundle=bundle.directory, limits=limits))
            await sandbox.load(ScriptModel())
            said = b""
            async for event in sandbox.run(RunRequest(id="touch", argv=("python", "-c", TOUCH))):
                said += event.data if isinstance(event, Log) else b""
                if isinstance(event, Finished):
                    outcome = event.outcome
            assert outcome.reason is None, outcome
            found.append({"seconds": float(said), "peak_bytes": outcome.peak_memory_bytes or 0})
    return found


async def measure(folder: Path, settings: S3Settings, size: int, versions: int) -> dict[str, Any]:
    """Measure everything."""
    blobs = BlobStore(settings)
    await blobs.ensure_bucket()
    weights = folder / "weights"
    block = os.urandom(16 << 20)
    with weights.open("wb") as file:
        for _ in range(-(-size // len(block))):
            file.write(block)
        file.truncate(size)
    digest = await blobs.put_file(weights)
    weights.unlink()
    files = {"weights.bin": (digest, size)}
    one, two = [await stored(blobs, files, code) for code in (b"print(1)\n", b"print(2)\n")]
    result: dict[str, Any] = {"bytes": size}
    result["plain"] = measured("plain", folder, digest, settings)
    result["first"] = measured("materialise", folder, one, settings)
    before = on_disk(folder / "bundles")
    result["second_version"] = measured("materialise", folder, two, settings)
    result["second_version"]["copied_bytes"] = on_disk(folder / "bundles") - before
    result["again"] = measured("materialise", folder, one, settings)
    for name in ("plain", "first"):
        result[name]["mb_per_second"] = size / MB / result[name]["seconds"]
    result["mapped"], result["mapped_by_second_version"] = await touched(folder, blobs, [one, two])
    many = Bundles(folder / "many", blobs, ROOM)
    many.open()
    for number in range(versions):
        async with many.held(await stored(blobs, {}, b"print(%d)\n" % number)):
            pass
    result["many"] = measured("open_many", folder, one, settings)
    await blobs.aclose()
    return result


def show(result: dict[str, Any]) -> None:
    """Print what was measured."""
    print(f"{result['bytes'] / MB:.0f} MB of weights")
    for name, taken in result.items():
        if isinstance(taken, dict):
            numbers = ", ".join(f"{key} {value:,.3f}".rstrip("0").rstrip(".") for key, value in taken.items())
            print(f"  {name.replace('_', ' ')}: {numbers}")


def main() -> None:
    """Measure, or do one step where told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--digest", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.step:
        asyncio.run(child(told.step, told.folder, told.digest))
        return
    with tempfile.TemporaryDirectory(prefix="vitrine-bundles-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server, (access_key, secret_key) = s3_server(folder / "s3")
        server.start()
        try:
            settings = S3Settings(
                endpoint=f"http://127.0.0.1:{server.port}",
                access_key=access_key,
                secret_key=SecretStr(secret_key),
                bucket="bundles",
            )
            result = asyncio.run(measure(folder, settings, told.megabytes * MB, told.versions))
        finally:
            server.kill()
    if told.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
