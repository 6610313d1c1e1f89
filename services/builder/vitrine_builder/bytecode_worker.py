"""Compiles the `.py` files below folders. Runs alone, with nothing but the standard library.

Started as `python -P -s -S -B -W ignore bytecode_worker.py JOBS [background]`. Each line of stdin asks for
one folder: `KEY`, `FOLDER`, `INSIDE`, where a sandbox sees it, and `TARGET`, which gets the bytecode,
separated by tabs. Each line of stdout answers one: `KEY COMPILED FAILED`, in the order in which they end.

In the background it runs at a low priority, begins nothing between the lines `pause` and `go`, and gives
up when stdin ends, for then nobody waits any more.

What the compiler writes depends on the strings that its process holds, so this process compiles nothing: it
forks a pristine child for a batch of files, which keeps nothing of a file when it is done with it. A child to
which anything else happens than that a file compiles (an error, a codec that has to be imported, a limit) is
given up, and each file of its batch gets a pristine child of its own. Nothing is imported from the folders.
Tests of packages get no bytecode: nobody serves them, and they are a third of all code.
"""

import _imp
import gc
import importlib.util
import marshal
import os
import re
import resource
import select
import sys

# Paths are strings here: pathlib would hold names that what is compiled may use.
# ruff: noqa: PTH103, PTH108, PTH123

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 60
BATCH_BYTES = 1_000_000
# In the background: a tenth of what others get, which still comes to an end on a busy machine.
PRIORITY = 10
UNTOUCHED = {"test", "tests", "__pycache__"}
CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*(?!utf-?8\b)([-\w.]+)", re.IGNORECASE)
SUFFIX = f".{sys.implementation.cache_tag}.pyc"
# Bytecode that belongs to a source of this hash, which no import compares: files are read-only, and times
# say nothing on a copy (PEP 552).
HEAD = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
MAGIC = int.from_bytes(importlib.util.MAGIC_NUMBER, "little")


def sources(folder: str) -> list[tuple[str, int]]:
    """Return every `.py` file below `folder` that gets bytecode, with its bytes, sorted."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in UNTOUCHED]
        found += [f"{place}/{file}" for file in files if file.endswith(".py")]
    return [(file, os.lstat(file).st_size) for file in sorted(found)]


def batches(files: list[tuple[str, int]]) -> list[list[str]]:
    """Return the files in lots that are worth a child."""
    lots: list[list[str]] = []
    room = 0
    for file, size in files:
        if not lots or room < size:
            lots.append([])
            room = BATCH_BYTES
        lots[-1].append(file)
        room -= size
    return lots


def bytecode_of(source: str) -> str:
    """Return where imports look for the bytecode of `source` (PEP 3147), in whatever tree both lie."""
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}{SUFFIX}"


def remove(file: str) -> None:
    """Remove `file`, if it is there."""
    if os.path.lexists(file):
        os.unlink(file)


def compile_one(source: str, name: str, target: str, alone: bool) -> None:
    """Write the bytecode of `source` to `target`, calling it `name`."""
    with open(source, "rb") as file:
        text = file.read()
    if not alone and any(CODING.match(line) for line in text.split(b"\n", 2)[:2]):
        raise ValueError("decoding it imports a codec")
    code = marshal.dumps(compile(text, name, "exec", dont_inherit=True))
    os.makedirs(target.rpartition("/")[0], exist_ok=True)
    if alone:
        remove(target)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb", buffering=0) as out:
        hashed = _imp.source_hash(MAGIC, text)
        data = memoryview(HEAD + hashed + code)
        while data:
            data = data[out.write(data) :]


def compile_all(files: list[str], folder: str, inside: str, target: str) -> int:
    """Compile `files` in this child; return 0, 1 if one did not compile, or 2 if one cannot be written."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    try:
        for file in files:
            relative = file.removeprefix(folder)
            compile_one(file, inside + relative, bytecode_of(target + relative), len(files) == 1)
    except OSError:
        return 2
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return 1
    return 0


class Orders:
    """What stdin says: folders to compile, and in the background when to pause."""

    def __init__(self, background: bool) -> None:
        self.background = background
        self.folders: list[list[str]] = []
        self.paused = False
        self.ended = False
        self.rest = b""

    def read(self) -> None:
        """Wait for more, and take it in."""
        data = os.read(0, 1 << 16)
        self.ended = not data
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line in {b"pause", b"go"}:
                self.paused = line == b"pause"
            else:
                self.folders.append(os.fsdecode(line).split("\t"))

    def heed(self) -> None:
        """Wait as long as there is a pause.

        Raises:
            SystemExit: nobody waits any more.
        """
        while self.background and (self.paused or select.select([0], [], [], 0)[0]):
            self.read()
            if self.ended:
                sys.exit("the builder is gone")


class Pool:
    """Children at work, at most `jobs` at a time."""

    def __init__(self, jobs: int, orders: Orders) -> None:
        self.jobs = jobs
        self.orders = orders
        self.running: dict[int, tuple[str, list[str]]] = {}
        self.folders: dict[str, tuple[str, str, str]] = {}
        self.left: dict[str, int] = {}
        self.counts: dict[str, list[int]] = {}

    def add(self, key: str, folder: str, inside: str, target: str) -> None:
        """Compile everything below `folder`."""
        files = sources(folder)
        self.folders[key] = (folder, inside, target)
        self.counts[key] = [len(files), 0]
        # One more than the files, taken off at the end of this function.
        self.left[key] = len(files) + 1
        for lot in batches(files):
            self.start(key, lot)
        self.done(key, 1)

    def start(self, key: str, lot: list[str]) -> None:
        """Give `lot` to a child, as soon as there may be one more."""
        while len(self.running) >= self.jobs:
            self.reap()
        self.orders.heed()
        pid = os.fork()
        if pid == 0:
            code = 3
            try:
                code = compile_all(lot, *self.folders[key])
            finally:
                os._exit(code)
        self.running[pid] = (key, lot)

    def reap(self) -> None:
        """Wait for one child.

        Raises:
            SystemExit: a file could not be written.
        """
        pid, status = os.wait()
        key, lot = self.running.pop(pid)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 2:
            sys.exit("bytecode cannot be written: No space left on device (os error 28)")
        if status and len(lot) > 1:
            for file in lot:
                self.start(key, [file])
            return
        if status:
            self.counts[key][1] += 1
            folder, _, target = self.folders[key]
            remove(bytecode_of(target + lot[0].removeprefix(folder)))
        self.done(key, len(lot))

    def done(self, key: str, files: int) -> None:
        """Count files that are finished, and tell of the folder whose last ones they are."""
        self.left[key] -= files
        if not self.left[key]:
            total, failed = self.counts[key]
            os.write(1, f"{key} {total - failed} {failed}\n".encode())


def main() -> None:
    """Compile every folder that stdin names."""
    # A collection in a short-lived child would only copy the pages that it shares with this process.
    gc.disable()
    gc.freeze()
    orders = Orders("background" in sys.argv)
    pool = Pool(int(sys.argv[1]), orders)
    if orders.background:
        give_way()
    while not orders.ended:
        orders.read()
        while orders.folders:
            pool.add(*orders.folders.pop(0))
        while orders.background and pool.running:
            pool.reap()
    while pool.running:
        pool.reap()


def give_way() -> None:
    """Let everything else go first: other processes, and other sessions where the kernel groups by those."""
    os.nice(PRIORITY)
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(PRIORITY))
    except OSError:
        pass


if __name__ == "__main__":
    main()
