"""Bytecode of the Python that Debian installs: the same bytes anywhere, and believed at midnight 1970."""

from __future__ import annotations

from pathlib import Path

from vitrine_builder import bytecode_worker
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.process import Bounds, ProcessTimeout
from vitrine_builder.system.container import Container, Folder

_WORKER = "/run/bytecode_worker.py"
_PACKAGES = "/usr/lib/python3/dist-packages"
# Debian's own bytecode names its source's time, which a tree does not keep: every import would compile again.
_SCRIPT = f"""
[ -x /usr/bin/python3 ] || exit 0
folders=$(for folder in "$@"; do [ -d "$folder" ] && echo "$folder"; done)
find $folders /usr/share/python3 -name __pycache__ -prune -exec rm -rf '{{}}' +
for folder in $folders; do printf '%s\\t%s\\t%s\\t%s\\n' "$folder" "$folder" "$folder" "$folder"; done |
  PYTHONHASHSEED=0 /usr/bin/python3 -P -s -S -B -W ignore {_WORKER} "$(nproc)" >/dev/null
"""


async def compile_python(container: Container, tree: Path, bounds: Bounds, *, library: bool) -> None:
    """Compile Debian's Python packages in `tree`, and with `library` its standard library.

    Raises:
        BuildFailure: bytecode cannot be written, or not in time.
    """
    version = "/usr/lib/python3.11"
    folders = [version, _PACKAGES] if library else [_PACKAGES]
    try:
        finished = await container.run(
            tree,
            ["/bin/sh", "-e", "-c", _SCRIPT, "sh", *folders],
            bounds=bounds,
            folders=[Folder(Path(bytecode_worker.__file__), _WORKER, writable=False)],
        )
    except ProcessTimeout as error:
        raise BuildFailure(FailureReason.TIMEOUT, f"Compiling Debian's Python gave {error}.") from None
    if finished.returncode:
        sentence = "Debian's Python packages could not be compiled; the log tells more."
        raise BuildFailure(FailureReason.INTERNAL, sentence, None, tuple(finished.stderr.splitlines()[-40:]))
