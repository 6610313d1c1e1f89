"""Programs that try to get out, look around, or undo their isolation."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from pathlib import Path

import pytest

from sandboxes import Bench, perform, python
from vitrine_engine import OutputSpec, Reason, ScriptModel
from vitrine_harness import seccomp, system

SECRET = "a-secret-of-the-service"

CALLS = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    padded = (arguments + (0,) * 6)[:6]
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(item) for item in padded])
    return errno.errorcode.get(ctypes.get_errno(), "done") if result < 0 else "done"
"""


async def look(bench: Bench, code: str) -> object:
    """Execute code that prints one JSON value in a fresh sandbox and return that value."""
    ran = await perform(await bench.script(), *python("import json, os, sys\n" + code))
    assert ran.outcome.reason is None, ran.stderr
    return json.loads(ran.stdout)


async def test_the_host_is_out_of_sight(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_TEST_SECRET", SECRET)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    in_image = bench.engine.name == "docker"
    paths = [
        str(secret),
        "/root",
        "/home",
        "/var",
        "/run",
        "/sys",
        "/etc/shadow",
        "/mnt",
        "/boot",
        str(Path.cwd()),
    ]
    # A container has the directories of its image: what could be in them is the host's, or nothing.
    code = f"""
def has(path):
    if not {in_image} or not os.path.isdir(path): return os.path.exists(path) and bool(read(path))
    return path != "/var" and os.listdir(path) != []
def read(path):
    if not {in_image}: return True
    try: return open(path, "rb").read(1)
    except PermissionError: return b""
print(json.dumps([p for p in {paths} if has(p)]))
"""
    assert await look(bench, code) == []
    top = await look(bench, "print(json.dumps(sorted(os.listdir('/'))))")
    expected = {
        "bin",
        "bundle",
        "dev",
        "env",
        "etc",
        "lib",
        "opt",
        "proc",
        "sbin",
        "tmp",
        "usr",
        "vitrine",
        "work",
    }
    image = {".dockerenv", "boot", "home", "media", "mnt", "root", "run", "srv", "sys", "var"}
    assert isinstance(top, list)
    assert set(top) - {"lib32", "lib64", "libx32"} == expected | (image if in_image else set())
    everything = await look(
        bench,
        "text = repr(os.environ) + open('/proc/mounts').read()\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    for name in ('environ', 'cmdline', 'maps'):\n"
        "        try: text += open(f'/proc/{pid}/{name}').read()\n"
        "        except OSError: pass\n"
        "print(json.dumps(text))",
    )
    assert isinstance(everything, str)
    assert "/work" in everything
    assert SECRET not in everything
    assert str(tmp_path) not in everything


async def test_nothing_shared_can_be_written(bench: Bench) -> None:
    code = """
found = []
places = "/ /usr /env /bundle /opt/python /etc /dev /vitrine /vitrine/harness /proc/sys/kernel"
files = "/bundle/w /env/pyvenv.cfg /vitrine/harness/shims/conda /etc/passwd /proc/sys/kernel/hostname"
for place in places.split():
    try:
        open(place + "/x", "w").close()
        found.append(place)
    except OSError: pass
for file in files.split():
    try:
        os.chmod(file, 0o777)
        found.append(file)
    except OSError: pass
    try:
        open(file, "a").close()
        found.append(file)
    except OSError: pass
print(json.dumps(found))
"""
    sandbox = await bench.script({"w": "weights"})
    ran = await perform(sandbox, *python("import json, os\n" + code))
    assert json.loads(ran.stdout) == []


async def test_weights_cannot_be_rewritten(bench: Bench) -> None:
    bundle = bench.bundle({"w": "weights", "d/w": "weights"})
    kept = bundle / "kept"
    os.link(bundle / "w", kept)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in bundle.rglob("*")}
    sandbox = await bench.start(bundle=bundle)
    await sandbox.load(ScriptModel())
    code = """
import os, shutil
for name in ("w", "d/w", "kept"):
    open(name, "r+b").write(b"EVIL"); os.chmod(name, 0o777); os.utime(name, (0, 0))
os.link("w", "hard"); open("hard", "ab").write(b"more")
shutil.rmtree("d"); os.rename("kept", "gone")
"""
    assert (await perform(sandbox, *python(code))).outcome.reason is None
    assert {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in bundle.rglob("*")} == before
    assert kept.read_text() == "weights"
    ran = await perform(sandbox, "sh", "-c", "cat w d/w kept; ls")
    assert ran.stdout == "weightsweightsweightsd\nkept\nw\n"


async def test_no_capability_is_left_and_none_can_be_had(bench: Bench) -> None:
    code = """
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
keys = "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp"
print(json.dumps([status[key] for key in keys.split()]))
"""
    assert await look(bench, code) == ["0" * 16] * 5 + ["1", "2"]
    code = """
def denied(action):
    try: action()
    except OSError: return True
    return False
import stat
print(json.dumps([
    denied(lambda: os.setuid(0)), denied(lambda: os.setgid(0)), denied(lambda: os.setgroups([0])),
    denied(lambda: os.mknod("c", stat.S_IFCHR | 0o666, os.makedev(1, 1))),
    denied(lambda: os.mknod("b", stat.S_IFBLK | 0o666, os.makedev(254, 0))),
    denied(lambda: os.chroot("/tmp")), denied(lambda: os.chown("/work", 0, 0)), denied(lambda: os.nice(-5)),
]))
"""
    assert await look(bench, code) == [True] * 8


async def test_setuid_programs_change_nothing(bench: Bench) -> None:
    code = """
import glob, shutil, subprocess
shutil.copy("/usr/bin/id", "id"); os.chmod("id", 0o6755)
print(json.dumps([os.getuid(), int(subprocess.run(["./id", "-u"], capture_output=True).stdout)]))
"""
    found = await look(bench, code)
    assert isinstance(found, list)
    before, after = found
    assert before == after
    assert before == 1000 if bench.engine.name == "process" else before > 65536


async def test_dangerous_system_calls_are_denied(bench: Bench) -> None:
    column = list(seccomp.ARCHITECTURES).index(system.machine())
    calls = {name: pair[column] for name, pair in seccomp.CALLS.items() if pair[column] is not None}
    code = f"{CALLS}\nprint(json.dumps({{name: call(number) for name, number in {calls}.items()}}))"
    assert await look(bench, code) == dict.fromkeys(calls, "EPERM")


async def test_no_new_namespace_and_no_foreign_socket(bench: Bench) -> None:
    column = list(seccomp.ARCHITECTURES).index(system.machine())
    clone, clone3 = seccomp.CLONE[column], seccomp.CLONE3[column]
    code = f"""{CALLS}
flags = [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]
families = {{"vsock": 40, "packet": 17, "alg": 38, "bluetooth": 31, "unix": 1, "inet": 2}}
print(json.dumps([
    sorted({{call({clone}, flag | 17) for flag in flags}}), call({clone3}, 0, 88),
    {{name: call({seccomp.SOCKET[column]}, family, 2) for name, family in families.items()}},
]))
"""
    foreign = dict.fromkeys(("vsock", "packet", "alg", "bluetooth"), "EAFNOSUPPORT")
    assert await look(bench, code) == [["EPERM"], "ENOSYS", {**foreign, "unix": "done", "inet": "done"}]


async def test_commands_cannot_undo_the_mounts(bench: Bench) -> None:
    ran = await perform(
        await bench.script(),
        "sh",
        "-c",
        "umount /work && echo out; umount -l /tmp && echo out; mount -t tmpfs x /tmp && echo out; "
        "mount --bind / /tmp && echo out; unshare -Ur true && echo out; unshare -m true && echo out; "
        "nsenter -t 1 -m true && echo out; chroot / true && echo out; mount -o remount,rw / && echo out; :",
    )
    assert (ran.outcome.reason, ran.stdout) == (None, "")


async def test_no_network_but_its_own_loopback(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0vitrine-test-{os.getpid()}"
        abstract.bind(name)
        abstract.listen()
        code = f"""
import socket
def reaches(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        try: sock.connect(address)
        except OSError: return False
        return True
own = socket.create_server(("127.0.0.1", 0))
print(json.dumps([
    reaches(socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
    reaches(socket.AF_INET, ("169.254.169.254", 80)), reaches(socket.AF_INET, ("8.8.8.8", 53)),
    reaches(socket.AF_UNIX, {name!r}), reaches(socket.AF_INET, own.getsockname()),
    [name for _, name in socket.if_nameindex()],
]))
"""
        assert await look(bench, code) == [False, False, False, False, True, ["lo"]]


async def test_descriptors_are_not_inherited(bench: Bench) -> None:
    code = """
numbers = os.listdir("/proc/self/fd")
print(json.dumps([os.readlink(f"/proc/self/fd/{number}") for number in numbers[:3]] + numbers))
"""
    found = await look(bench, code)
    assert isinstance(found, list)
    assert found[0] == "/dev/null"
    assert all(item.startswith("pipe:") for item in found[1:3])
    assert found[3:6] == ["0", "1", "2"]
    assert len(found) <= 7  # the listing's own descriptor


async def test_the_harness_cannot_be_looked_into_or_stopped(bench: Bench) -> None:
    code = """
import signal, time
opened = []
for name in ("mem", "environ", "maps", "root", "cwd", "fd", "fdinfo", "exe", "ns/mnt", "map_files"):
    path = f"/proc/1/{name}"
    try:
        if name in ("root", "cwd", "exe", "ns/mnt"): os.readlink(path)
        elif name in ("fd", "fdinfo", "map_files"): os.listdir(path)
        else: open(path).read(1)
        opened.append(name)
    except OSError: pass
for number in range(1, 65):
    if number not in (32, 33):
        os.kill(1, number)
time.sleep(0.05)
print(json.dumps(opened))
"""
    found = await look(bench, code)
    assert found == []


async def test_signals_reach_nobody_else(bench: Bench) -> None:
    sandbox = await bench.script(max_runs=2)
    other = await bench.script()
    victims = [
        asyncio.ensure_future(perform(place, "sh", "-c", "sleep 1; echo survived"))
        for place in (sandbox, other)
    ]
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
seen = sorted(int(p) for p in os.listdir("/proc") if p.isdigit())
for target in [-1, *range(2, 3000)]:
    if target != os.getpid():
        try: os.kill(target, signal.SIGTERM if target == -1 else signal.SIGKILL)
        except OSError: pass
print(seen == [1, os.getpid()])
"""
    ran = await perform(sandbox, *python(code))
    assert ran.stdout == "True\n"
    for victim in victims:
        assert (await victim).stdout == "survived\n"


async def test_runs_side_by_side_do_not_see_each_other(bench: Bench) -> None:
    sandbox = await bench.script(max_runs=2)
    writer = asyncio.ensure_future(
        perform(
            sandbox,
            *python(
                "import os, socket, time\n"
                "for place in ('/work', '/tmp', '/dev/shm'): open(f'{place}/theirs', 'w').write('x')\n"
                "s = socket.socket(socket.AF_UNIX); s.bind('\\0theirs'); s.listen()\n"
                "t = socket.create_server(('127.0.0.1', 4242))\n"
                "time.sleep(1)"
            ),
        )
    )
    await asyncio.sleep(0.3)
    code = """
import json, os, socket
found = [place for place in ("/work", "/tmp", "/dev/shm") if os.path.exists(place + "/theirs")]
for family, address in ((socket.AF_UNIX, "\\0theirs"), (socket.AF_INET, ("127.0.0.1", 4242))):
    with socket.socket(family) as sock:
        try: sock.connect(address); found.append(str(address))
        except OSError: pass
print(json.dumps(found))
"""
    ran = await perform(sandbox, *python(code))
    assert (await writer).outcome.reason is None
    assert json.loads(ran.stdout) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give sandboxes users of their own")
async def test_every_sandbox_has_a_host_user_of_its_own(bench: Bench) -> None:
    users = set()
    for _ in range(2):
        sandbox = await bench.script()
        seconds = f"1.{secrets.randbelow(10**9):09}"
        task = asyncio.ensure_future(perform(sandbox, "sleep", seconds))
        while not (pids := _sleeping(seconds)) and not task.done():
            await asyncio.sleep(0.01)
        users |= {Path(f"/proc/{pids[0]}").stat().st_uid}
        await task
    assert len(users) == 2
    assert all(user > 65536 for user in users)


def _sleeping(seconds: str) -> list[int]:
    """Processes of the host that sleep for so long."""
    found = []
    for item in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (item / "cmdline").read_bytes() == b"sleep\0" + seconds.encode() + b"\0":
                found.append(int(item.name))
    return found


async def test_links_pipes_and_loops_are_no_outputs(bench: Bench) -> None:
    sandbox = await bench.script()
    command = """
mkdir -p out/loop real
ln -s /etc/passwd out/passwd; ln -s /proc/1/environ out/environ; ln -s / out/root; ln -s .. out/loop/up
ln -s ../real out/real; echo secret > real/file
mkfifo out/fifo; ln -s /dev/zero out/zero; ln -s /nowhere out/broken
python -c 'import socket; socket.socket(socket.AF_UNIX).bind("out/socket")'
echo fine > out/fine; ln -s /etc etc
"""
    specs = tuple(
        OutputSpec(pattern=item) for item in ("out", "out/**/*", "etc/*", "etc/passwd", "out/real/*")
    )
    ran = await perform(sandbox, "sh", "-c", command, outputs=specs)
    assert ran.outcome.reason is None
    assert ran.files == {"out/fine": b"fine\n"}
    assert (await perform(sandbox, "true")).outcome.reason is None


async def test_odd_file_names_cannot_leave_the_output(bench: Bench) -> None:
    sandbox = await bench.script()
    code = r"""
import os
os.mkdir("out")
for name in (b"new\nline", b"\xff\xfe", b"..hidden", b"back\\..\\slash", b"\x1b[31m", b"%2e%2e%2f"):
    open(b"out/" + name, "w").write("x")
"""
    ran = await perform(sandbox, *python(code), outputs=(OutputSpec(pattern="out"),))
    assert ran.outcome.reason is None
    assert len(ran.files) == 6
    for name in ran.files:
        name.encode()
        assert name.isprintable()
        assert ".." not in Path(name).parts


async def test_a_sparse_file_of_a_terabyte_is_too_large(bench: Bench) -> None:
    sandbox = await bench.script()
    ran = await perform(sandbox, "truncate", "-s", "1T", "big", outputs=(OutputSpec(pattern="big"),))
    assert ran.outcome.reason is Reason.OUTPUT_TOO_LARGE
    assert (await perform(sandbox, "true")).outcome.reason is None


async def test_shared_python_is_only_readable(bench: Bench) -> None:
    code = """
writable = [os.access(path, os.W_OK) for path in (sys.base_prefix, os.__file__)]
print(json.dumps([*writable, sys.prefix]))
"""
    assert await look(bench, code) == [False, False, "/env"]
