"""Which files a script reads and writes, as far as its text says so."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

from vitrine.detection.arguments import literal

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
WEIGHTS = frozenset(
    {".pt", ".pth", ".onnx", ".npz", ".npy", ".pkl", ".pickle", ".safetensors", ".h5", ".bin"}
)
_READS = frozenset({"open", "imread", "read_text", "read_bytes", "read_csv", "imopen", "read_image"})
_WRITES = frozenset(
    {"save", "imwrite", "savefig", "write_text", "write_bytes", "to_csv", "imsave", "save_image"}
)


def files_of(tree: ast.Module) -> tuple[list[str], list[str]]:
    """Return the paths that a script reads and those that it writes, in the order of their calls."""
    names = _named_paths(tree)
    reads: list[str] = []
    writes: list[str] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called not in _READS | _WRITES:
            continue
        path = _path_of(node, names)
        if path is None:
            continue
        writing = called in _WRITES or (called == "open" and _opens_to_write(node))
        into = writes if writing else reads
        if path not in into:
            into.append(path)
    return reads, writes


def third_party(tree: ast.Module, local: frozenset[str], standard: frozenset[str]) -> list[str]:
    """Return the packages that a script imports and that belong neither to Python nor to the directory."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return sorted(found - standard - local - {"__future__", "vitrine_metrics"})


def _named_paths(tree: ast.Module) -> dict[str, str]:
    """Return the names that stand for a path: `SOURCE = Path("data/image.png")`."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            value = _path_text(node.value)
            if value:
                found |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
    return found


def _path_of(call: ast.Call, names: dict[str, str]) -> str | None:
    """Return the path that a call is about: an argument, or what it is called on."""
    tried = list(call.args)
    if isinstance(call.func, ast.Attribute):
        tried.append(call.func.value)
    for node in tried:
        found = names.get(node.id) if isinstance(node, ast.Name) else _path_text(node)
        if found:
            return found
    return None


def _path_text(node: ast.expr) -> str | None:
    value = literal(node)
    return value if isinstance(value, str) and PurePosixPath(value).suffix and "\n" not in value else None


def _opens_to_write(call: ast.Call) -> bool:
    modes = [literal(node) for node in call.args] + [
        literal(keyword.value) for keyword in call.keywords if keyword.arg == "mode"
    ]
    return any(isinstance(mode, str) and len(mode) <= 3 and set(mode) & set("wax") for mode in modes)
