"""The `python` that a program finds on its path: forks of a warm interpreter, as good as the real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vitrine_harness
from warm_interpreter import HARNESS, make_environment

SHIM = Path(vitrine_harness.__file__).parent / "shims" / "forking" / "python"
SERVICE = """
import os, selectors, signal, sys, warmed
sys.path.insert(0, {harness!r})
from vitrine_harness import interpreter, python_service

class Child:
    def __init__(self, call, directory, env, streams):
        self.status, told = os.pipe2(os.O_CLOEXEC)
        pid, write = os.pipe2(os.O_CLOEXEC)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            program = os.fork()
            if program == 0:
                for target, descriptor in enumerate(streams):
                    os.dup2(descriptor, target)
                os.closerange(3, 256)
                env["WARM"] = "yes"
                interpreter.run(call, directory, env, 1)
            os.write(write, program.to_bytes(4, "little"))
            os.close(write)
            os.write(told, os.waitpid(program, 0)[1].to_bytes(4, "little"))
            os._exit(0)
        os.close(told)
        os.close(write)
        self.pid = int.from_bytes(os.read(pid, 4), "little")
        os.close(pid)

    def kill(self, number):
        os.kill(self.pid, number)

    def close(self):
        pass

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with selectors.DefaultSelector() as selector:
    service = python_service.PythonService({path!r}, selector, Child, {programs!r})
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            key.data()
"""


class Place:
    """An environment with a shim in front, and the service it speaks to."""

    def __init__(self, root: Path, packages: Path) -> None:
        self.root = root
        self.socket = root / "python.sock"
        self.environment = make_environment(root / "env", packages)
        programs = self.environment / "bin"
        shims = root / "shims"
        shims.mkdir()
        text = SHIM.read_text().replace("/vitrine/run/python.sock", str(self.socket))
        text = text.replace("/opt/python/bin/python3", os.path.realpath(sys.executable))
        (shims / "python").write_text(text.replace("/env/bin/", f"{programs}/"))
        (shims / "python").chmod(0o755)
        (shims / "python3").symlink_to("python")
        self.env = {"PATH": f"{shims}:{programs}:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        source = SERVICE.format(harness=str(HARNESS), path=str(self.socket), programs=str(programs))
        self.process = subprocess.Popen(
            [programs / "python", "-c", source], stdout=subprocess.PIPE, env={"LANG": "C.UTF-8"}
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def shell(self, script: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=self.root,
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(self.socket))
        sock.settimeout(30)
        return sock


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, onnx_environment: Path) -> Iterator[Place]:
    packages = next(onnx_environment.glob("lib/python*/site-packages"))
    found = Place(tmp_path_factory.mktemp("shim"), packages)
    with found.process:
        yield found
        found.process.kill()


WARM = "import os; print(os.environ.get('WARM', 'no'))"


@pytest.mark.parametrize("program", ["python", "python3", "exec python"])
def test_a_program_of_a_shell_is_a_fork(place: Place, program: str) -> None:
    done = place.shell(f'{program} -c "{WARM}"')
    assert (done.stdout, done.stderr, done.returncode) == ("yes\n", "", 0)


def test_streams_directory_and_variables_are_the_shells(place: Place) -> None:
    script = (
        "mkdir -p below; cd below; export OWN='a\u00e9\n'; echo before > log\n"
        "python -c 'import os, sys\n"
        'print(os.getcwd(), ascii(os.environ["OWN"]), sys.stdin.read(), sys.argv)\' x >> log\n'
        "cat log; printf piped | python -c 'print(input()); 1/0' 2>&1 | tail -n 1\n"
        "python -c 'print(2)' 3>&1 >&2"
    )
    done = place.shell(script, "typed")
    assert done.stdout == (
        f"before\n{place.root}/below 'a\\xe9\\n' typed ['-c', 'x']\nZeroDivisionError: division by zero\n"
    )
    assert done.stderr == "2\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(5)", 5),
        ("1/0", 1),
        ("import os; os.kill(os.getpid(), 15)", 143),
        ("import os; os._exit(200)", 200),
    ],
)
def test_the_shell_sees_its_end(place: Place, code: str, status: int) -> None:
    assert place.shell(f"python -c '{code}'; echo $?").stdout == f"{status}\n"


@pytest.mark.parametrize(
    "line", [f'python -O -c "{WARM}"', f'PYTHONHASHSEED=3 python -c "{WARM}"', f'LC_ALL=C python -c "{WARM}"']
)
def test_what_no_fork_can_do_the_real_one_does(place: Place, line: str) -> None:
    done = place.shell(line)
    assert (done.stdout, done.stderr) == ("no\n", "")


def test_a_program_on_standard_input_is_read(place: Place) -> None:
    assert place.shell("python", WARM).stdout == "no\n"


def test_a_file_that_hides_a_warm_module_is_imported(place: Place) -> None:
    (place.root / "hides").mkdir()
    (place.root / "hides" / "warmed.py").write_text("value = 'own'\n")
    done = place.shell("cd hides; python -c 'import sys, warmed; print(warmed.value, sys.prefix)'")
    assert (done.stdout, done.stderr) == (f"own {place.environment}\n", "")


def test_without_a_service_the_real_one_runs(place: Place) -> None:
    place.socket.rename(place.root / "aside")
    try:
        done = place.shell(f'python -c "{WARM}; import sys; print(sys.prefix)"')
    finally:
        (place.root / "aside").rename(place.socket)
    assert (done.stdout, done.stderr) == (f"no\n{place.environment}\n", "")


def test_an_environment_too_large_for_a_packet_is_for_the_real_one(place: Place) -> None:
    done = place.shell(f'python -c "{WARM}"', **dict.fromkeys("ABC", "a" * 100_000))
    assert (done.stdout, done.stderr) == ("no\n", "")


@contextmanager
def waiting(place: Place, handler: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A program behind the shim that says it is up, and waits for a signal."""
    source = f"import signal, sys\n{handler}\nprint('up', flush=True)\nwhile True: signal.pause()\n"
    with subprocess.Popen(
        ["python", "-c", source],
        env=place.env,
        executable=place.root / "shims" / "python",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process


def test_signals_are_passed_on(place: Place) -> None:
    handler = "signal.signal(15, lambda *_: (print('told', flush=True), sys.exit(9)))"
    with waiting(place, handler) as process:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == (b"told\n", 9)


def test_an_interrupt_ends_both(place: Place) -> None:
    with waiting(place) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert errors.endswith(b"KeyboardInterrupt\n")


def test_a_killed_shim_takes_its_program_along(place: Place) -> None:
    with waiting(place) as process:
        process.kill()
        assert process.stdout is not None
        # This end of the pipe is told only when the program is gone.
        assert process.stdout.read() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"[" * 100_000,
        b"{}",
        b'{"argv": "python", "cwd": "/", "env": {}}',
        b'{"argv": [], "cwd": "/", "env": {}}',
        b'{"argv": ["python", 3], "cwd": "/", "env": {}}',
        b'{"argv": ["python", "x.py"], "cwd": 3, "env": {"LANG": "C.UTF-8"}}',
        b'{"argv": ["python", "a\\u0000"], "cwd": "/", "env": {"LANG": "C.UTF-8"}}',
        b'{"argv": ["python", "x.py"], "cwd": "/", "env": {"LANG": ["C.UTF-8"]}}',
    ],
)
def test_hostile_requests_are_refused(place: Place, data: bytes) -> None:
    with place.connect() as sock, Path(os.devnull).open("rb") as null:
        socket.send_fds(sock, [data], [null.fileno()] * 3)
        assert sock.recv(64) == b"refused"
    assert place.shell(f'python -c "{WARM}"').stdout == "yes\n"


@pytest.mark.parametrize("count", [0, 1, 4])
def test_descriptors_are_three(place: Place, count: int) -> None:
    request = {"argv": ["python", "-c", WARM], "cwd": "/", "env": {"LANG": "C.UTF-8"}}
    with place.connect() as sock, Path(os.devnull).open("rb") as null:
        socket.send_fds(sock, [json.dumps(request).encode()], [null.fileno()] * count)
        assert sock.recv(64) == b"refused"


def test_a_crowd_is_served(place: Place) -> None:
    idle = [place.connect() for _ in range(80)]
    try:
        # All places are taken by those who say nothing: the shim gets the real interpreter.
        assert place.shell(f'python -c "{WARM}"').stdout == "no\n"
    finally:
        for sock in idle:
            sock.close()
    done = place.shell(f'for i in 1 2 3 4 5 6 7 8; do python -c "{WARM}" & done; wait')
    assert done.stdout.count("yes") == 8
