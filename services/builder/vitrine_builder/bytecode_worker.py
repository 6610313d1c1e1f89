"""Compiles the `.py` files below a folder. Runs alone, with nothing but the standard library.

Started as `python -P -s -S -B bytecode_worker.py FOLDER INSIDE JOBS`; a sandbox sees FOLDER at INSIDE.
For every file a child is forked from this pristine process, which never compiles: what the compiler writes
depends on the strings that the process interned before, so one process for many files would give other
bytes in another order. Nothing is imported from the folder; a file that does not compile (a template, a
test for an old Python) gets no bytecode.

Writes one line `compiled FILES FAILED` to stdout at the end.
"""

import gc
import os
import py_compile
import resource
import sys

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 60


def sources(folder: str) -> list[str]:
    """Return every `.py` file below `folder`, sorted."""
    found = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        found += [f"{place}/{file}" for file in files if file.endswith(".py")]
    return sorted(found)


def compile_one(source: str, name: str) -> int:
    """Write the bytecode of `source` beside it, calling it `name`; return 0, or 1 if it does not compile."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        # The hash is not checked at import: files are read-only, and times say nothing on a copy.
        py_compile.compile(
            source,
            dfile=name,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except OSError:
        return 2
    except (py_compile.PyCompileError, ValueError, RecursionError, MemoryError):
        return 1
    return 0


def reap() -> int:
    """Wait for one child; return 1 if its file has no bytecode.

    Raises:
        SystemExit: the file could not be written.
    """
    _, status = os.wait()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 2:
        sys.exit("bytecode cannot be written: No space left on device (os error 28)")
    return 1 if status else 0


def main() -> None:
    """Compile everything, with at most JOBS children at a time."""
    folder, inside, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # A collection in a short-lived child would only copy the pages that it shares with this process.
    gc.disable()
    gc.freeze()
    files = sources(folder)
    running = failed = 0
    for source in files:
        if running >= jobs:
            failed += reap()
            running -= 1
        if os.fork() == 0:
            code = 3
            try:
                code = compile_one(source, inside + source.removeprefix(folder))
            finally:
                os._exit(code)
        running += 1
    for _ in range(running):
        failed += reap()
    sys.stdout.write(f"compiled {len(files) - failed} {failed}\n")


if __name__ == "__main__":
    main()
