"""`docker-compose.yml`, `.env.example` and the images' Dockerfiles, checked without a Docker daemon.

The model below is the subset of the Compose Specification that the file uses; a key it does not know is an
error, so a misspelt one is found. Source: https://github.com/compose-spec/compose-spec.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ROOT = Path(__file__).parents[2]
OWN = ("api", "builder", "runner", "trainer", "monitor")
SANDBOXED = ("builder", "runner", "trainer")
VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
PINNED = re.compile(r"^[\w./-]+:(?!latest$)[\w][\w.-]*\d[\w.-]*$")

Duration = Annotated[str, StringConstraints(pattern=r"^\d+(ms|s|m)$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Build(_Part):
    context: Literal["."]
    dockerfile: str
    network: str
    args: dict[str, str]
    secrets: list[str]


class Logging(_Part):
    driver: Literal["json-file"]
    options: dict[str, str]


class Secret(_Part):
    file: str


class ShownSecret(_Part):
    source: str
    target: str


class HealthCheck(_Part):
    test: Annotated[list[str], Field(min_length=2)]
    interval: Duration
    timeout: Duration
    retries: Annotated[int, Field(ge=1)]
    start_period: Duration | None = None


class Dependency(_Part):
    condition: Literal["service_healthy", "service_started", "service_completed_successfully"]


class Service(_Part):
    image: str
    healthcheck: HealthCheck
    networks: Annotated[list[str], Field(min_length=1)]
    restart: Literal["unless-stopped"]
    read_only: Literal[True]
    cap_drop: list[Literal["ALL"]]
    security_opt: list[str]
    mem_limit: str
    pids_limit: int
    stop_grace_period: Duration
    logging: Logging
    build: Build | None = None
    secrets: list[str | ShownSecret] = Field(default_factory=list)
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    user: str | None = None
    init: bool = False
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=list)
    tmpfs: list[str] = Field(default_factory=list)
    ports: list[str] = Field(default_factory=list)
    depends_on: dict[str, Dependency] = Field(default_factory=dict)


class Network(_Part):
    internal: bool = False


class Volume(_Part):
    driver_opts: dict[str, str] = Field(default_factory=dict)


class Compose(_Part):
    name: str
    services: dict[str, Service]
    networks: dict[str, Network]
    volumes: dict[str, Volume]
    secrets: dict[str, Secret]


def _text() -> str:
    return (ROOT / "docker-compose.yml").read_text()


@pytest.fixture(scope="module")
def compose() -> Compose:
    content: dict[str, Any] = yaml.safe_load(_text())
    return Compose.model_validate({k: v for k, v in content.items() if not k.startswith("x-")})


def _instructions(service: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions, continued lines joined, comments left out."""
    text = (ROOT / "services" / service / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def _copied(service: str) -> Iterator[str]:
    for name, rest in _instructions(service):
        words = shlex.split(rest)
        if name == "COPY" and not words[0].startswith("--from"):
            yield from words[:-1]


def test_the_five_services_and_three_servers_are_there(compose: Compose) -> None:
    assert set(compose.services) == {*OWN, "nats", "mongo", "s3"}


def test_images_are_pinned(compose: Compose) -> None:
    for name, service in compose.services.items():
        assert PINNED.match(service.image), f"{name}: {service.image}"
        assert "@sha256" not in service.image, "a digest that nobody fetched"
    major = {name: compose.services[name].image.rpartition(":")[2] for name in ("nats", "mongo")}
    assert tuple(map(int, major["nats"].split("-")[0].split(".")[:2])) >= (2, 10)
    assert int(major["mongo"].split(".")[0]) >= 7


def test_volumes_and_networks_are_declared_and_used(compose: Compose) -> None:
    volumes, networks = set(), set()
    for service in compose.services.values():
        networks |= set(service.networks)
        for mount in service.volumes:
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
                assert mount.endswith(":ro"), mount
            else:
                volumes.add(source)
    assert volumes == set(compose.volumes)
    assert networks == set(compose.networks)


def test_servers_keep_their_data_in_a_volume(compose: Compose) -> None:
    for name, folder in (("nats", "/data"), ("mongo", "/data/db"), ("s3", "/data")):
        assert f"{name}:{folder}" in compose.services[name].volumes


def test_services_wait_for_healthy_servers(compose: Compose) -> None:
    for name in OWN:
        waits = compose.services[name].depends_on
        assert {key for key, value in waits.items() if value.condition == "service_healthy"} == {
            "nats",
            "mongo",
            "s3",
        }


def test_only_pages_and_objects_are_published_on_loopback(compose: Compose) -> None:
    assert {name for name, service in compose.services.items() if service.ports} == {"api", "s3"}
    for name in ("api", "s3"):
        for port in compose.services[name].ports:
            assert port.startswith("${VITRINE_PUBLISH_ADDRESS:-127.0.0.1}:"), port
    assert compose.networks["inside"].internal
    for name in ("runner", "trainer", "monitor", "nats", "mongo"):
        assert compose.services[name].networks == ["inside"], f"{name} has a way out"


def test_no_secret_has_a_default() -> None:
    found = {name: (kind, value) for name, kind, value in VARIABLE.findall(_text().replace("$$", ""))}
    secret = {name for name in found if re.search(r"PASSWORD|SECRET|KEY|TOKEN", name)}
    assert len(secret) >= 4
    for name in secret:
        assert found[name][0] == "?", f"{name} must be required"
    literal = re.findall(r"(?m)^\s*\w*(?:PASSWORD|SECRET|_KEY)\w*:\s*['\"]*(?!\$\{|/|['\"])(\S+)", _text())
    assert literal == []


def test_every_variable_is_documented_and_no_secret_is_given_away() -> None:
    example = (ROOT / ".env.example").read_text()
    listed = dict(re.findall(r"(?m)^(\w+)=(.*)$", example))
    used = {name for name, _, _ in VARIABLE.findall(_text().replace("$$", ""))}
    assert used == set(listed)
    assert [name for name in listed if re.search(r"PASSWORD|SECRET|KEY", name) and listed[name]] == []
    blocks = [block for block in example.split("\n\n") if re.search(r"(?m)^\w+=", block)]
    assert all(block.lstrip().startswith("#") for block in blocks), "every group says what it is for"


def test_only_sandboxes_loosen_the_container(compose: Compose) -> None:
    for name, service in compose.services.items():
        loose = {option for option in service.security_opt if option != "no-new-privileges:true"}
        assert "no-new-privileges:true" in service.security_opt
        if name not in SANDBOXED:
            assert not loose, name
        else:
            assert loose == {
                "seccomp:infra/compose/seccomp-sandbox.json",
                "apparmor:unconfined",
                "systempaths=unconfined",
            }
            writes = "" if name == "builder" else ":ro"
            assert f"environments:/var/lib/vitrine/environments{writes}" in service.volumes


def test_seccomp_profile_of_sandboxes_allows_six_calls_more_than_any_program_needs() -> None:
    profile = json.loads((ROOT / "infra/compose/seccomp-sandbox.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    sandboxes, clone3, socket, ordinary = profile["syscalls"]
    assert set(sandboxes["names"]) == {"clone", "mount", "pivot_root", "sethostname", "umount2", "unshare"}
    assert (clone3["names"], clone3["action"], clone3["errnoRet"]) == (["clone3"], "SCMP_ACT_ERRNO", 38)
    assert (socket["names"], socket["args"][0]["op"]) == (["socket"], "SCMP_CMP_NE")
    refused = {
        *("bpf", "kexec_load", "init_module", "keyctl", "ptrace", "open_by_handle_at", "perf_event_open"),
        *("setns", "chroot", "move_mount", "open_tree", "fsopen", "io_uring_setup", "userfaultfd"),
        *("add_key", "process_vm_readv", "quotactl", "reboot", "syslog", "swapon", "personality"),
    }
    assert not refused & set(ordinary["names"])
    assert {"execve", "seccomp", "openat2", "futex", "prctl", "rseq"} <= set(ordinary["names"])


def test_where_packages_come_from_is_a_secret_and_never_an_argument(compose: Compose) -> None:
    for name in OWN:
        build = compose.services[name].build
        assert build is not None
        assert build.secrets == ["pip", "certificates"]
        assert set(build.args) == {"BASE_IMAGE"}
    for secret in compose.secrets.values():
        kept = VARIABLE.sub(lambda match: match[3], secret.file)
        text = (ROOT / kept).read_text()
        assert all(line.startswith(("#", "[")) for line in text.splitlines()), f"{kept} holds a setting"
    assert compose.services["builder"].secrets == [
        ShownSecret(source="pip", target="/etc/pip.conf"),
        "certificates",
    ]
    for path in (*ROOT.glob("services/*/Dockerfile"), ROOT / "infra/compose/servers/Dockerfile"):
        text = path.read_text()
        assert set(re.findall(r"(?m)^ARG (\w+)", text)) == {"BASE_IMAGE"}, path
        installs = [
            run for run in re.split(r"(?m)^(?=[A-Z]+ )", text) if re.search(r"venv\.sh (?!own)\w", run)
        ]
        installs = [run for run in installs if run.startswith("RUN")]
        assert len(installs) == 2
        assert all("id=pip,target=/etc/pip.conf" in run and "id=certificates" in run for run in installs)


def test_local_servers_stand_in_for_the_three_servers_alone(compose: Compose) -> None:
    text = (ROOT / "infra/compose/local-servers.yml").read_text()
    services = yaml.safe_load(text)["services"]
    assert set(services) == set(compose.services)
    for name in OWN:
        assert set(services[name]) == {"environment"}, "the services are those of every other machine"
        assert set(services[name]["environment"]) == {"VITRINE_MONGO_URL"}
    dockerfile = (ROOT / "infra/compose/servers/Dockerfile").read_text()
    for name in {*services} - {*OWN}:
        assert services[name]["build"]["target"] == name
        assert f"FROM base AS {name}\n" in dockerfile
        assert not {"security_opt", "cap_drop", "read_only", "ports", "networks"} & set(services[name])
    assert {found[0] for found in VARIABLE.findall(text)} <= {found[0] for found in VARIABLE.findall(_text())}


@pytest.mark.parametrize("service", OWN)
def test_image_is_multi_stage_pinned_and_not_root(compose: Compose, service: str) -> None:
    build = compose.services[service].build
    assert build is not None
    assert build.dockerfile == f"services/{service}/Dockerfile"
    instructions = _instructions(service)
    (default,) = [rest.partition("=")[2] for name, rest in instructions if name == "ARG"]
    assert re.match(r"^python:3\.11\.\d+-slim-bookworm$", default)
    assert build.args["BASE_IMAGE"] == f"${{VITRINE_BASE_IMAGE:-{default}}}"
    stages = [rest.split() for name, rest in instructions if name == "FROM"]
    assert [stage[0] for stage in stages] == ["${BASE_IMAGE}"] * 2, (
        "an environment belongs to one interpreter"
    )
    last = instructions[max(i for i, (name, _) in enumerate(instructions) if name == "FROM") :]
    assert re.match(r"^[1-9]\d*:[1-9]\d*$", next(rest for name, rest in last if name == "USER"))
    kept = [rest.split()[1:] for name, rest in last if name == "COPY" and rest.startswith("--from=build ")]
    assert kept == [["/opt/venv", "/opt/venv"], ["/opt/vitrine", "/opt/vitrine"]], "code is the last layer"
    assert not any(name == "ADD" for name, _ in instructions)


@pytest.mark.parametrize("service", OWN)
def test_image_is_built_anew_from_where_it_changed(service: str) -> None:
    steps = [f"{name} {rest}" for name, rest in _instructions(service)]
    places = {
        word: next(i for i, step in enumerate(steps) if word in step)
        for word in (
            "venv.sh tools",
            f"{service}/requirements.lock",
            "venv.sh dependencies",
            "COPY libs/common libs",
        )
    }
    assert list(places.values()) == sorted(places.values())


@pytest.mark.parametrize("service", OWN)
def test_image_copies_what_exists_and_all_local_packages(service: str) -> None:
    copied = set(_copied(service))
    for path in copied:
        assert (ROOT / path).exists(), f"COPY {path}"
    copied.discard("libs/common/vitrine_common/indexes.py")
    assert {path for path in copied if path.startswith("libs/")} == _libraries(f"services/{service}")
    runs = [rest for name, rest in _instructions(service) if name == "RUN" and "build-venv.sh" in rest]
    steps = [run.partition("build-venv.sh ")[2].split() for run in runs]
    assert steps[:2] == [["tools"], ["dependencies", service]]
    wanted = {f"./{path}" for path in _libraries(f"services/{service}") | {f"services/{service}"}}
    assert (steps[2][0], set(steps[2][1:])) == ("own", wanted)


@pytest.mark.parametrize("service", OWN)
def test_image_is_made_from_its_lock_with_hashes(service: str) -> None:
    assert f"services/{service}/requirements.lock" in _copied(service)
    script = (ROOT / "infra/compose/build-venv.sh").read_text().replace("\\\n", " ")
    installs = [line for line in script.splitlines() if "install" in line and "pip" in line and "-r" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)
    lock = (ROOT / "services" / service / "requirements.lock").read_text()
    pins = re.findall(r"(?m)^[a-z0-9][\w.-]*(?:\[[\w,-]+\])?==\S+", lock)
    assert pins
    assert len(re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]) == len(pins)
    assert all("--hash=sha256:" in block for block in re.split(r"(?m)^(?=[a-z0-9])", lock)[1:])


@pytest.mark.parametrize("service", OWN)
def test_image_has_bubblewrap_where_user_code_runs(service: str) -> None:
    packages = " ".join(rest for name, rest in _instructions(service) if name == "RUN" and "apt-get" in rest)
    assert ("bubblewrap" in packages) == (service in SANDBOXED)
    assert ("debootstrap" in packages) == (service == "builder")


@pytest.mark.parametrize("service", OWN)
def test_ready_line_is_where_the_health_check_looks(compose: Compose, service: str) -> None:
    entry = next(rest for name, rest in _instructions(service) if name == "ENTRYPOINT")
    assert json.loads(entry) == ["vitrine-serve", service]
    script = (ROOT / "infra/compose/serve.sh").read_text()
    check = compose.services[service].healthcheck.test
    if service == "api":
        assert '("127.0.0.1", 8080)' in check[-1]
        assert "GET /healthz " in check[-1]
    else:
        assert check == ["CMD", "grep", "-q", "ready", "/tmp/ready"]
        assert "exec 3>/tmp/ready" in script
        assert "VITRINE_READY_FD=3" in script


@pytest.mark.parametrize("service", OWN)
def test_the_build_context_holds_what_images_copy(service: str) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for path in _copied(service):
        assert any(path == entry or path.startswith(f"{entry}/") for entry in kept), path


def _libraries(member: str) -> set[str]:
    """Return the local libraries of `member`, those of its libraries included."""
    project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    names = [dependency for dependency in project["dependencies"] if dependency.startswith("vitrine-")]
    direct = {f"libs/{re.split(r'[^a-z-]', name)[0].removeprefix('vitrine-')}" for name in names}
    return direct.union(*(_libraries(library) for library in direct))
