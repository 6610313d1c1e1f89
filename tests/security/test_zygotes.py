"""An environment whose packages attack the zygote that imports them: no run is ever given to it.

The package is called `numpy`, which zygotes import ahead. Whatever it does, runs still work, in interpreters
of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal

import pytest

from sandboxes import perform, python
from vitrine_engine.process.meter import descendants
from vitrine_engine.process.nest import NestGoneError
from zygotes import ZygoteBench

BUNDLE = {"run.py": "import numpy\n"}
IS_FORK = "import sys; print('numpy' in sys.modules)"
"""Told apart: only a fork of the zygote has it before it is imported."""

AT_IMPORT = {
    "memory that all forks share": """
import mmap
shared = mmap.mmap(-1, 4096)
""",
    "a socket that all forks share": """
import socket
pair = socket.socketpair()
""",
    "a pipe": """
import os
pipe = os.pipe()
""",
    "a process that looks on": """
import os, time
if os.fork() == 0:
    time.sleep(600)
    os._exit(0)
""",
    "a process of its own that outlives its parent": """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
""",
    "a directory held open": """
import os
held = os.open("/proc", os.O_RDONLY)
""",
    "another working directory": """
import os
os.chdir("/proc/self")
""",
    "a spy forked with every fork": """
import os, time
def spy():
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
forking = False
def after():
    global forking
    if not forking:
        forking = True
        spy()
        forking = False
os.register_at_fork(after_in_parent=after)
""",
    "a spy forked by the fork": """
import os, time
busy = False
def after():
    global busy
    if not busy:
        busy = True
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
os.register_at_fork(after_in_child=after)
""",
    "a thread in the fork": """
import os, threading, time
os.register_at_fork(after_in_child=lambda: threading.Thread(target=time.sleep, args=(600,)).start())
""",
    "memory shared at the fork": """
import mmap, os
kept = []
os.register_at_fork(before=lambda: kept.append(mmap.mmap(-1, 4096)))
""",
    "descriptors of cells kept": """
import os
from vitrine_harness import zygote
class Keeping:
    def __getattr__(self, name):
        return getattr(os, name)
    def close(self, descriptor):
        pass
zygote.os = Keeping()
""",
    "capabilities kept": """
from vitrine_harness import run, system
run.system = system
system.drop_privileges = lambda: None
""",
    "namespaces not entered": """
from vitrine_harness import system
system.enter = lambda descriptor, kind: None
""",
    "only some namespaces entered": """
from vitrine_harness import system
real = system.enter
system.enter = lambda descriptor, kind: None if kind == system.CLONE_NEWIPC else real(descriptor, kind)
""",
    "silence": """
import time
from vitrine_harness import zygote
zygote._become = lambda descriptors: time.sleep(600)
""",
}


@pytest.mark.parametrize("is_expected", [False, True], ids=["at once", "made ahead"])
@pytest.mark.parametrize("attack", AT_IMPORT)
async def test_an_attack_costs_the_zygote_and_no_run(
    zygotes: ZygoteBench,
    attack: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_expected: bool,
) -> None:
    monkeypatch.setattr("vitrine_engine.process.zygote.FORK_SECONDS", 1.0)
    caplog.set_level(logging.WARNING)
    environment = zygotes.environment({"numpy": AT_IMPORT[attack]})
    sandbox = await zygotes.script(environment, BUNDLE, argv=python(IS_FORK))
    if is_expected:
        await sandbox.expect_run()
    ran = await perform(sandbox, *python(IS_FORK))
    assert ran.outcome.reason is None, ran.outcome.message
    assert ran.stdout == "False\n"
    assert "zygote" in caplog.text
    again = await perform(sandbox, *python(IS_FORK))
    assert again.stdout == "False\n"
    # Launcher and supervisor: nothing that the attacker forked looks on while the second run goes on.
    (shelter,) = zygotes.shelters
    async with asyncio.timeout(10):
        while len(descendants(shelter.starting.result().pid)) > 2:
            await asyncio.sleep(0.02)


async def test_harmless_packages_are_forked(zygotes: ZygoteBench) -> None:
    sandbox = await zygotes.script(zygotes.environment({"numpy": "x = 1\n"}), BUNDLE)
    assert (await perform(sandbox, *python(IS_FORK))).stdout == "True\n"


LOOKS = """
import os
def look():
    found = {}
    for path in ("/proc", "/vitrine/shared", "/bundle", "/work", "/vitrine/run"):
        try:
            found[path] = sorted(os.listdir(path))
        except OSError as error:
            found[path] = type(error).__name__
    return found
at_import = look()
with open("/proc/self/status") as stream:
    status = dict(line.rstrip("\\n").split(":\\t", 1) for line in stream if ":\\t" in line)
at_fork = []
os.register_at_fork(before=lambda: at_fork.append(look()))
"""


async def test_a_zygote_sees_no_cell_and_no_bundle(zygotes: ZygoteBench) -> None:
    environment = zygotes.environment({"numpy": LOOKS})
    sandbox = await zygotes.script(environment, BUNDLE)
    code = """
import sys
numpy = sys.modules['numpy']
print([look["/proc"] for look in numpy.at_fork])
print(numpy.at_import["/vitrine/shared"], numpy.at_import["/bundle"], numpy.at_import["/work"])
names = "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp".split()
print(*(numpy.status[name] for name in names))
"""
    ran = await perform(sandbox, *python(code))
    assert ran.outcome.reason is None, ran.stderr
    seen, places, powers = ran.stdout.splitlines()
    # The second is the fork of the one that waits, in the cell, which sees its own processes there.
    assert seen.startswith("[[]")
    assert places == "[] [] []"
    assert powers == " ".join(["0000000000000000"] * 5 + ["1", "2"])


POWERS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(call, *arguments):
    return call(*arguments) == -1
found = {
    "unshare": refused(libc.unshare, 0x10000000),
    "mount": refused(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None),
    "ptrace": refused(libc.ptrace, 16, 1, 0, 0),
    "pidfd": refused(libc.syscall, 434, os.getppid(), 0),
    "pidfd_getfd": refused(libc.syscall, 438, 3, 0, 0),
    "memory": refused(libc.process_vm_readv, os.getppid(), None, 0, None, 0, 0) and ctypes.get_errno() == 1,
}
"""


async def test_a_zygote_cannot_reach_other_processes(zygotes: ZygoteBench) -> None:
    sandbox = await zygotes.script(zygotes.environment({"numpy": POWERS}), BUNDLE)
    ran = await perform(sandbox, *python("import sys; print(sys.modules['numpy'].found)"))
    assert "False" not in ran.stdout
    assert "unshare" in ran.stdout


TOKEN = "import os\ntoken = os.urandom(8).hex()\n"
SAY_TOKEN = python("import numpy; print(numpy.token)")


async def test_a_zygote_is_one_owners_alone(zygotes: ZygoteBench) -> None:
    environment = zygotes.environment({"numpy": TOKEN})
    first = await zygotes.script(environment, BUNDLE, owner="one")
    second = await zygotes.script(environment, {**BUNDLE, "other.py": ""}, owner="one")
    strangers = await zygotes.script(environment, BUNDLE, owner="two")
    nobodys = await zygotes.script(environment, BUNDLE, owner=None)
    said = [(await perform(item, *SAY_TOKEN)).stdout for item in (first, first, second, strangers, nobodys)]
    assert len(set(said[:3])) == 1
    assert len(set(said)) == 3


async def test_versions_of_one_owner_do_not_see_each_other(zygotes: ZygoteBench) -> None:
    environment = zygotes.environment({"numpy": ""})
    await zygotes.script(environment, {**BUNDLE, "secret.txt": "of the first"})
    second = await zygotes.script(environment, BUNDLE)
    code = """
import os
for place in ("/bundle", "/work", "/vitrine/shared", "/tmp"):
    print(place, sorted(os.listdir(place)))
print([pid for pid in os.listdir("/proc") if pid.isdigit()])
"""
    ran = await perform(second, *python(code))
    assert ran.stdout.splitlines() == [
        "/bundle ['run.py']",
        "/work ['run.py']",
        "/vitrine/shared []",
        "/tmp []",
        "['1', '2']",
    ]


async def test_a_forked_run_cannot_undo_its_cell(zygotes: ZygoteBench) -> None:
    sandbox = await zygotes.script(zygotes.environment({"numpy": ""}), {**BUNDLE, "weights": "as pushed"})
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
MS_REMOUNT_RW, NEWUSER, NEWNS = 32 | 4096, 0x10000000, 0x00020000
print(libc.mount(b"none", b"/bundle", None, MS_REMOUNT_RW, None), libc.umount2(b"/vitrine/shared", 2))
print(libc.unshare(NEWUSER | NEWNS), libc.setns(0, 0))
for path in ("/bundle/weights", "/env/lib/x", "/vitrine/harness/x", "/usr/x"):
    try:
        open(path, "w")
        print("wrote", path)
    except OSError as error:
        print(error.errno)
os.remove("weights")
open("weights", "w").write("changed")
"""
    ran = await perform(sandbox, *python(code))
    lines = ran.stdout.splitlines()
    assert lines[:2] == ["-1 -1", "-1 -1"]
    assert set(lines[2:]) <= {"1", "13", "30"}
    assert len(lines) == 6
    again = await perform(sandbox, *python("print(open('weights').read(), open('/bundle/weights').read())"))
    assert again.stdout == "as pushed as pushed\n"


async def test_killing_a_zygote_costs_no_run(zygotes: ZygoteBench) -> None:
    sandbox = await zygotes.script(zygotes.environment({"numpy": ""}), BUNDLE)
    (shelter,) = zygotes.shelters
    zygote = shelter.ready_zygote
    assert zygote is not None
    os.kill(zygote.pid, signal.SIGKILL)
    ran = await perform(sandbox, *python(IS_FORK))
    assert (ran.outcome.reason, ran.stdout) == (None, "False\n")


async def test_a_zygote_that_dies_while_it_imports_keeps_nobody_waiting(
    zygotes: ZygoteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine_engine.process.zygote.IMPORT_SECONDS", 10_000.0)
    environment = zygotes.environment({"numpy": "import os\nos._exit(0)\n"})
    async with asyncio.timeout(60):
        sandbox = await zygotes.script(environment, BUNDLE)
        assert (await perform(sandbox, *python(IS_FORK))).stdout == "False\n"


async def test_who_asks_a_nest_that_dies_is_told_so(zygotes: ZygoteBench) -> None:
    """And not cancelled: it would take its run along."""
    await zygotes.script(zygotes.environment({}), {"t.py": ""})
    (shelter,) = zygotes.shelters
    nest = await shelter.starting
    supervisor = descendants(nest.pid)[1]
    os.kill(supervisor, signal.SIGSTOP)
    asking = asyncio.ensure_future(nest.ask("census"))
    await asyncio.sleep(0)
    os.kill(supervisor, signal.SIGKILL)
    with pytest.raises(NestGoneError, match="ended"):
        await asking


async def test_a_shell_script_gets_forks_too(zygotes: ZygoteBench) -> None:
    bundle = {
        **BUNDLE,
        "run.sh": """
set -u
echo text | python -c 'import sys; print(sys.stdin.read().strip(), "numpy" in sys.modules)'
python3 show.py a 'b c' > out.txt
cat out.txt
python -c 'import sys; sys.exit(7)' || echo "status $?"
X=1 python -c 'import os, signal; print(os.environ["X"], flush=True); os.kill(os.getpid(), signal.SIGTERM)'
echo "status $?"
python -c 'print("forked" if "numpy" in __import__("sys").modules else "spawned")' & wait
python -O -c 'print("forked" if "numpy" in __import__("sys").modules else "spawned")'
""",
        "show.py": "import os, sys; print(sys.argv, os.getcwd(), 'numpy' in sys.modules)\n",
    }
    sandbox = await zygotes.script(zygotes.environment({"numpy": ""}), bundle)
    ran = await perform(sandbox, "bash", "run.sh")
    assert ran.outcome.reason is None, ran.stderr
    assert ran.stdout.splitlines() == [
        "text True",
        "['show.py', 'a', 'b c'] /work True",
        "status 7",
        "1",
        "status 143",
        "forked",
        "spawned",
    ]


async def test_a_program_hands_no_channel_to_the_zygote(zygotes: ZygoteBench) -> None:
    """Streams that a program gives its `python` go to the fork alone, once nothing else can be reached."""
    environment = zygotes.environment({"numpy": RECEIVED})
    sandbox = await zygotes.script(environment, {**BUNDLE, "secret.txt": "input of a reviewer"})
    ran = await perform(sandbox, "bash", "-c", "python -c 'pass' < secret.txt; python -c 'pass' < secret.txt")
    assert ran.outcome.reason is None, ran.stderr
    after = await perform(sandbox, *python("import sys; print(sys.modules['numpy'].received)"))
    *zygotes_own, forks_own = json.loads(after.stdout)
    # The zygote sees one descriptor with each message, the gate; the rest comes to the fork alone.
    assert set(zygotes_own) == {1}
    assert forks_own > 5


RECEIVED = """
import socket
received = []
real = socket.recv_fds
def recv_fds(sock, size, most):
    found = real(sock, size, 64)
    received.append(len(found[1]))
    return found
socket.recv_fds = recv_fds
"""


async def test_what_runs_import_is_imported_ahead_next_time(
    zygotes: ZygoteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine_engine.process.nests.RENEW_SECONDS", 0.05)
    environment = zygotes.environment({"numpy": "", "learned": "", "threaded": THREADED})
    first = await zygotes.script(environment, BUNDLE)
    ran = await perform(first, *python("import learned, threaded; print('ok')"))
    assert (ran.outcome.reason, ran.stdout) == (None, "ok\n")
    async with asyncio.timeout(20):
        while not any("learned" in one.modules for one in zygotes.engine.figures().zygotes):
            await asyncio.sleep(0.02)
    later = await zygotes.script(environment, BUNDLE)
    code = "import sys; print([name in sys.modules for name in ('numpy', 'learned', 'threaded')])"
    # A module that starts threads cannot be imported before a fork, and costs the others nothing.
    assert (await perform(later, *python(code))).stdout == "[True, True, False]\n"
    # The sandbox that was there before goes on in its own nest.
    assert (await perform(first, *python(IS_FORK))).stdout == "True\n"


THREADED = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
