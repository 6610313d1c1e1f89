"""Makes the base system: `python -m vitrine_builder.base` (or `make base`).

With debootstrap, from the settings `VITRINE_BUILDER_APT_*`, or from the archive of a root file system
(`--archive rootfs.tar`, such as `docker export` writes of a container of a pinned image).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from vitrine_builder.failures import BuildFailure
from vitrine_builder.images.docker import Daemon
from vitrine_builder.progress import Step
from vitrine_builder.settings import BuilderSettings
from vitrine_builder.system import system_store
from vitrine_builder.system.bases import Base
from vitrine_builder.workspace import open_workspace
from vitrine_common.settings import PlatformSettings


def main(arguments: list[str] | None = None) -> int:
    """Make the base and say what it is; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vitrine_builder.base", description=__doc__)
    parser.add_argument("--environments", type=Path, help="folder of environments (VITRINE_ENVIRONMENTS_DIR)")
    parser.add_argument("--archive", type=Path, help="take this root file system instead of making one")
    parser.add_argument("--again", action="store_true", help="make a new one though there is one")
    parser.add_argument("--docker", metavar="NAME", help="load it into the Docker daemon, too, as NAME:…")
    parser.add_argument("--json", action="store_true", help="print the base's description")
    options = parser.parse_args(arguments)
    os.umask(0o022)
    environments = options.environments or PlatformSettings().environments_dir
    try:
        base = asyncio.run(
            _make(environments, options.archive and options.archive.resolve(), again=options.again)
        )
    except BuildFailure as failure:
        sys.stderr.write("".join(f"{line}\n" for line in (*failure.log, failure.sentence)))
        return 1
    if options.docker is not None:
        try:
            image = Daemon(BuilderSettings().docker_url).import_root(
                base.archive, options.docker, base.digest
            )
        except BuildFailure as failure:
            sys.stderr.write(f"{failure.sentence}\n")
            return 1
        sys.stderr.write(f"In the Docker daemon: {image}\n")
    if options.json:
        sys.stdout.write((base.path / "base.json").read_text() + "\n")
    else:
        sys.stdout.write(f"{base.digest}  {base.release}  {base.size >> 20} MiB  {base.rootfs}\n")
    return 0


async def _make(environments: Path, archive: Path | None, *, again: bool) -> Base:
    with open_workspace(environments) as workspace:
        bases = system_store(BuilderSettings(), workspace, dict(os.environ)).bases
        if archive is not None:
            return await bases.adopt(archive, _tell)
        return await bases.make(_tell, again=again)


def _tell(step: Step) -> None:
    if step.done is None:
        sys.stderr.write(f"{step.message}\n")


if __name__ == "__main__":
    sys.exit(main())
