"""Programs that take all they can get: each ends with the right reason, and the next run works."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandboxes import MIB, SMALL, Bench, perform, python
from vitrine_engine import Limits, Reason, Sandbox
from vitrine_harness.program import OPEN_FILES


async def assert_next_run_works(sandbox: Sandbox) -> None:
    ran = await perform(sandbox, *python("print('works')"))
    assert (ran.outcome.reason, ran.stdout) == (None, "works\n")


async def test_a_program_that_ignores_signals_is_ended_in_time(bench: Bench) -> None:
    sandbox = await bench.script()
    code = """
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.fork()
print("deaf", flush=True)
while True: time.sleep(60)
"""
    ran = await perform(sandbox, *python(code), wall_seconds=0.5)
    assert ran.outcome.reason is Reason.TIMEOUT
    await assert_next_run_works(sandbox)


@pytest.mark.parametrize(
    "command",
    [
        ("bash", "-c", ":(){ :|:& };:; sleep 60"),
        python("import os\nwhile True:\n try: os.fork()\n except OSError: pass"),
        python("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"),
    ],
    ids=["shell", "fork", "threads"],
)
async def test_forks_without_end_stay_within_their_number(bench: Bench, command: tuple[str, ...]) -> None:
    sandbox = await bench.script()
    ran = await perform(sandbox, *command, wall_seconds=0.7)
    assert ran.outcome.reason in {Reason.TIMEOUT, Reason.USER_ERROR}
    assert (await sandbox.usage()).processes <= 4
    await assert_next_run_works(sandbox)


@pytest.mark.parametrize(
    "code",
    [
        "x = []\nwhile True: x.append(bytearray(8_000_000))",
        (
            "import os\nif os.fork() == 0:\n x = []\n while True: x.append(bytearray(8_000_000))\n"
            "else: raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]) != 0)"
        ),
        "f = open('/dev/shm/f', 'wb')\nwhile True: f.write(bytes(8_000_000)); f.flush()",
    ],
    ids=["itself", "child", "shared memory"],
)
async def test_memory_is_limited(bench: Bench, code: str) -> None:
    sandbox = await bench.script(limits=replace(SMALL, memory_bytes=96 * MIB, disk_bytes=1024 * MIB))
    outcome = (await perform(sandbox, *python(code))).outcome
    assert outcome.reason is Reason.OUT_OF_MEMORY
    assert "96 MiB" in outcome.message
    await assert_next_run_works(sandbox)


async def test_an_impossible_allocation_is_out_of_memory(bench: Bench) -> None:
    sandbox = await bench.script()
    outcome = (await perform(sandbox, *python("bytearray(1 << 60)"))).outcome
    assert outcome.reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize("place", ["/work", "/tmp"])
async def test_disk_is_limited(bench: Bench, place: str) -> None:
    sandbox = await bench.script()
    code = f"f = open('{place}/f', 'wb')\nwhile True: f.write(bytes(1_000_000))"
    outcome = (await perform(sandbox, *python(code))).outcome
    assert outcome.reason is Reason.DISK_FULL
    assert "No space left on device" in outcome.message
    await assert_next_run_works(sandbox)


async def test_the_number_of_files_is_limited(bench: Bench) -> None:
    sandbox = await bench.script(limits=replace(SMALL, disk_bytes=4 * MIB))
    code = "n = 0\nwhile True: open(f'f{n}', 'w').close(); n += 1"
    assert (await perform(sandbox, *python(code))).outcome.reason is Reason.DISK_FULL
    await assert_next_run_works(sandbox)


async def test_printing_gigabytes_is_cut_and_goes_on(bench: Bench) -> None:
    sandbox = await bench.script()
    ran = await perform(sandbox, "sh", "-c", "head -c 400000000 /dev/zero; echo done >&2")
    assert ran.outcome.reason is None
    assert ran.outcome.log_truncated
    assert len(ran.stdout) <= SMALL.log_bytes
    await assert_next_run_works(sandbox)


async def test_descriptors_are_limited_also_those_in_flight(bench: Bench) -> None:
    """Descriptors in messages that nobody reads count for nobody's table, yet not without end either."""
    sandbox, neighbour = await bench.script(), await bench.script()
    code = f"""
import array, errno, os, resource, socket
def taken(take):
    kept = []
    while True:
        try: kept.append(take())
        except OSError as error: return error.errno, len(kept)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
assert limit[0] == limit[1] <= {OPEN_FILES}, limit
try: resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1] + 1)); print("raised")
except (ValueError, PermissionError): pass
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
left.setblocking(False)
descriptors = array.array("i", [left.fileno()] * 250)
number, sent = taken(lambda: left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]))
assert number in (errno.ETOOMANYREFS, errno.EAGAIN, errno.ENOBUFS), number
number, opened = taken(lambda: os.open("/dev/null", os.O_RDONLY))
assert (number, opened < limit[0]) == (errno.EMFILE, True), (number, opened)
os.write(1, b"all taken\\n")
"""
    ran = await perform(sandbox, *python(code))
    assert (ran.outcome.reason, ran.stdout) == (None, "all taken\n"), ran.stderr
    for one in (sandbox, neighbour):
        await assert_next_run_works(one)


async def test_a_flood_of_metrics_is_only_noise(bench: Bench) -> None:
    sandbox = await bench.script()
    code = """
import os
metrics = os.open(os.environ["VITRINE_METRICS"], os.O_WRONLY)
long = b"x" * 100_000 + b"\\n"
for junk in (b"\\0" * 4096, long, b'{"a": 1e999}\\n', b"[" * 9000 + b"\\n", b'{"step": [], "a": 1}\\n'):
    os.write(metrics, junk)
os.unlink(os.environ["VITRINE_METRICS"])
"""
    ran = await perform(sandbox, *python(code))
    assert ran.outcome.reason is None
    assert [dict(item.values) for item in ran.metrics] == [{"a": 1.0}]
    await assert_next_run_works(sandbox)


async def test_background_processes_end_with_the_run(bench: Bench) -> None:
    sandbox = await bench.script()
    command = "sleep 600 & nohup setsid sleep 600 >/dev/null 2>&1 & (trap '' TERM HUP; sleep 600) & echo left"
    ran = await perform(sandbox, "sh", "-c", command)
    assert (ran.outcome.reason, ran.stdout) == (None, "left\n")
    assert (await sandbox.usage()).processes <= 4
    await assert_next_run_works(sandbox)


@pytest.mark.parametrize(
    ("field", "value"), [("memory_bytes", 1), ("processes", 0), ("disk_bytes", 0), ("cpus", 0)]
)
async def test_senseless_limits_are_refused(bench: Bench, field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        await bench.start(limits=replace(Limits(), **{field: value}))
