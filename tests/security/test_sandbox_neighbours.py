"""What one run uses up is its own: its neighbours go on, and get their share of the machine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from sandboxes import MIB, SMALL, Bench, Ran, perform, python
from vitrine_engine import Reason

GREEDY = {
    "processes": ("bash", "-c", ":(){ :|:& };:; sleep 60"),
    "memory": python("x = []\nwhile True: x.append(bytearray(8_000_000))"),
    "disk": python("f = open('f', 'wb')\nwhile True: f.write(bytes(1_000_000))"),
    "output": ("sh", "-c", "cat /dev/zero"),
    "descriptors": python(
        "import os, socket, time\nheld = []\n"
        "try:\n while True: held.append(socket.socketpair()); held.append(os.pipe())\n"
        "except OSError: time.sleep(60)"
    ),
    "processor": python(
        "import os\nfor _ in range(5): os.fork()\nwhile True: pass",
    ),
}
ENDS = {"memory": Reason.OUT_OF_MEMORY, "disk": Reason.DISK_FULL}
"""The others go on until their time is over."""


async def test_neighbours_of_the_greedy_go_on(bench: Bench) -> None:
    neighbour = await bench.script({"data": "kept"})
    greedy = {
        name: await bench.script(limits=replace(SMALL, memory_bytes=96 * MIB, cpus=0.2)) for name in GREEDY
    }
    taking = {
        name: asyncio.ensure_future(perform(greedy[name], *GREEDY[name], wall_seconds=12.0))
        for name in GREEDY
    }
    for number in range(8):
        ran = await perform(neighbour, *python(f"print(open('data').read(), {number})"))
        assert (ran.outcome.reason, ran.stdout) == (None, f"kept {number}\n")
    ended: dict[str, Ran] = {name: await task for name, task in taking.items()}
    reasons = {name: ran.outcome.reason for name, ran in ended.items()}
    assert reasons == {name: ENDS.get(name, Reason.TIMEOUT) for name in GREEDY}
    for name, sandbox in greedy.items():
        if sandbox.alive:
            assert (await perform(sandbox, "echo", "again")).stdout == "again\n", name


async def test_a_sandbox_with_many_processes_gets_no_more_of_the_processor(bench: Bench) -> None:
    """Two sandboxes with equal limits, one of which computes in 24 processes: work done in the same time."""
    code = """
import json, os, sys, time
children = []
for _ in range({processes} - 1):
    read, write = os.pipe()
    if os.fork() == 0:
        children = None
        break
    os.close(write)
    children.append(read)
print("up", flush=True) if children is not None else None
count, end = 0, time.monotonic() + 3
while time.monotonic() < end:
    for _ in range(1000): pass
    count += 1
if children is None:
    os.write(write, count.to_bytes(8, "big")); os._exit(0)
for child in children:
    count += int.from_bytes(os.read(child, 8), "big")
print(json.dumps(count))
"""
    limits = replace(SMALL, cpus=0.5)
    many, one = await bench.script(limits=limits), await bench.script(limits=limits)
    done = await asyncio.gather(
        *(
            perform(sandbox, *python(code.replace("{processes}", str(processes))))
            for sandbox, processes in ((many, 24), (one, 1))
        )
    )
    by_many, by_one = [json.loads(ran.stdout.split()[-1]) for ran in done]
    assert by_many < 4 * by_one


async def test_devices_and_sockets_are_the_harmless_ones(bench: Bench) -> None:
    code = """
import json, os, stat
found = {"devices": [], "sockets": [], "pipes": []}
kinds = {stat.S_IFBLK: "devices", stat.S_IFCHR: "devices", stat.S_IFSOCK: "sockets", stat.S_IFIFO: "pipes"}
for directory, directories, names in os.walk("/"):
    if directory == "/": directories.remove("proc")
    if directory == "/sys": directories.clear()
    for name in names:
        path = os.path.join(directory, name)
        try: found_at = os.lstat(path)
        except OSError: continue
        mode = found_at.st_mode
        if found_at.st_rdev == os.makedev(1, 3): continue  # the null device, also where it covers a file
        if stat.S_IFMT(mode) in kinds: found[kinds[stat.S_IFMT(mode)]].append(path)
print(json.dumps({kind: sorted(paths) for kind, paths in found.items()}))
"""
    ran = await perform(await bench.script(), *python(code))
    found = json.loads(ran.stdout)
    harmless = {
        f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero", "console", "ptmx")
    }
    assert {path for path in found["devices"] if not path.startswith("/dev/pts/")} <= harmless
    assert found["sockets"] == []
    assert found["pipes"] == ["/vitrine/run/metrics"]


async def test_the_kernels_files_are_closed(bench: Bench) -> None:
    code = """
import json, os
opened = []
names = "sysrq-trigger kcore kmsg sys/kernel/core_pattern sys/kernel/modprobe sys/vm/drop_caches"
for name in names.split():
    try: opened.append([name, os.open(f"/proc/{name}", os.O_WRONLY)])
    except OSError: pass
for name in ("kcore", "kmsg", "kpageflags", "timer_list"):
    try: opened += [[name, len(found)]] if (found := open(f"/proc/{name}", "rb").read(1)) else []
    except OSError: pass
print(json.dumps(opened))
"""
    ran = await perform(await bench.script(), *python(code))
    assert json.loads(ran.stdout) == []
