"""The launcher's command line: which namespaces a sandbox gets and what it sees of the host."""

from __future__ import annotations

import sys
from pathlib import Path

from vitrine_engine.process.layout import Layout
from vitrine_engine.protocol import SandboxSpec
from vitrine_harness.cell import BUNDLE, SHARED

TENANT = "1000"
MOUNT_POINTS = ("/work", "/tmp", "/vitrine/scratch", "/vitrine/run")  # noqa: S108 - inside a sandbox
SYSTEM_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
OWN_DIRECTORIES = ("usr", "etc", "opt", "var", *SYSTEM_DIRECTORIES)
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/localtime")
ROOT_CAPABILITIES = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_SYS_ADMIN")
"""What the harness needs to become the sandbox's user and to re-own the bundle; given up at once after."""
BOOT = "import sys; sys.path.insert(0, '/vitrine/harness'); from vitrine_harness.boot import main; main({})"
DRIVER_DIRECTORY = "/vitrine/driver"
DRIVER_LIBRARIES = ("libcuda.so*", "libnvidia-*.so*", "libnvcuvid.so*", "libnvoptix.so*")
LIBRARY_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/usr/local/cuda/compat",
    "/run/opengl-driver/lib",
)


def command(
    spec: SandboxSpec,
    layout: Layout,
    *,
    bwrap: str,
    descriptor: int,
    as_root: bool,
    shared: Path | None = None,
) -> list[str]:
    """Return the argv that starts a nest whose supervisor serves `descriptor`.

    With `shared`, cells choose among the bundles below that directory; else they have that of the spec.
    """
    parts = [bwrap, *_namespaces(as_root=as_root), "--clearenv", *_root(spec, layout)]
    library_path = libraries(spec)
    if library_path:
        parts += ["--setenv", "LD_LIBRARY_PATH", library_path]
    parts += ["--ro-bind", str(spec.environment or layout.bare), "/env"]
    bundle = spec.bundle if shared is None else None
    parts += ["--ro-bind", str(bundle or layout.empty), BUNDLE]
    if shared is not None:
        parts += ["--ro-bind", str(shared), SHARED]
    for directory in MOUNT_POINTS:
        parts += ["--perms", "0755", "--dir", directory]
    if spec.gpu:
        parts += _gpu()
    parts += ["--remount-ro", "/dev"]
    for bind in spec.binds:
        parts += ["--bind" if bind.writable else "--ro-bind", str(bind.source), bind.target]
    parts += ["--remount-ro", "/", "--chdir", "/"]
    return [*parts, "--", python(), "-I", "-S", "-B", "-c", BOOT.format(descriptor)]


def python() -> str:
    """Return the platform's interpreter as sandboxes see it."""
    return f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def libraries(spec: SandboxSpec) -> str:
    """Return the library path of a sandbox: Python's own where it is a shared one, the GPU driver's."""
    parts = []
    prefix = Path(sys.base_prefix)
    if spec.system is None and prefix != Path("/usr") and any((prefix / "lib").glob("libpython*.so*")):
        parts.append("/opt/python/lib")
    if spec.gpu:
        parts.append(DRIVER_DIRECTORY)
    return ":".join(parts)


def _namespaces(*, as_root: bool) -> list[str]:
    parts = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    parts += ["--hostname", "vitrine", "--as-pid-1", "--die-with-parent", "--new-session"]
    if not as_root:
        return [*parts, "--unshare-user", "--uid", TENANT, "--gid", TENANT, "--proc", "/proc"]
    # The harness mounts /proc itself here: bubblewrap as root covers parts of it, and then the kernel
    # refuses runs a /proc of their own.
    parts += ["--cap-drop", "ALL"]
    for capability in ROOT_CAPABILITIES:
        parts += ["--cap-add", capability]
    return [*parts, "--dir", "/proc"]


def _root(spec: SandboxSpec, layout: Layout) -> list[str]:
    # Made explicitly: bubblewrap makes missing parents for their owner alone.
    parts = []
    for directory in ("/etc", "/opt", "/vitrine"):
        parts += ["--perms", "0755", "--dir", directory]
    parts += _host(layout) if spec.system is None else _own_root(spec.system, layout)
    return [*parts, "--dev", "/dev", "--ro-bind", str(layout.harness), "/vitrine/harness"]


def _own_root(system: Path, layout: Layout) -> list[str]:
    # Scripts of packages made this tree: nothing in it is followed, or it would lead to the host's files.
    parts = []
    for name in OWN_DIRECTORIES:
        path = system / name
        if path.is_symlink():
            parts += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            parts += ["--ro-bind", str(path), f"/{name}"]
    for path in sorted(layout.etc.iterdir()):
        shown = system / "etc" / path.name
        if not (system / "etc").is_symlink() and shown.is_file() and not shown.is_symlink():
            parts += ["--ro-bind", str(path), f"/etc/{path.name}"]
    return parts


def _host(layout: Layout) -> list[str]:
    parts = ["--ro-bind", "/usr", "/usr", "--ro-bind", sys.base_prefix, "/opt/python"]
    for name in SYSTEM_DIRECTORIES:
        path = Path("/", name)
        if path.is_symlink():
            parts += ["--symlink", f"usr/{name}", f"/{name}"]
        elif path.is_dir():
            parts += ["--ro-bind", str(path), str(path)]
    for path in sorted(layout.etc.iterdir()):
        parts += ["--ro-bind", str(path), f"/etc/{path.name}"]
    for file in SYSTEM_FILES:
        parts += ["--ro-bind-try", file, file]
    return parts


def _gpu() -> list[str]:
    """Return binds of NVIDIA's devices, and of driver libraries that lie outside of `/usr/lib`."""
    parts = []
    for device in sorted(Path("/dev").glob("nvidia*")):
        parts += ["--dev-bind", str(device), str(device)]
    seen: set[str] = set()
    for directory in LIBRARY_DIRECTORIES:
        for pattern in DRIVER_LIBRARIES:
            for library in sorted(Path(directory).glob(pattern)):
                if library.name not in seen:
                    seen.add(library.name)
                    parts += ["--ro-bind", str(library.resolve()), f"{DRIVER_DIRECTORY}/{library.name}"]
    return parts
