"""Which modules are reported of a run, for the next zygote to import ahead."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from vitrine_harness.imports import LONGEST, newly_imported

PACKAGES = f"{sys.prefix}/lib/python3.11/site-packages"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def load(name: str, file: str) -> None:
        module = ModuleType(name)
        module.__file__ = file
        monkeypatch.setitem(sys.modules, name, module)

    return load


def test_of_known_packages_their_modules_of_new_ones_the_package(load: Callable[[str, str], None]) -> None:
    load("known", f"{PACKAGES}/known/__init__.py")
    before = frozenset(sys.modules)
    for name in ("known.used", "known.used.deeper", "fresh", "fresh.part"):
        load(name, f"{PACKAGES}/{name.replace('.', '/')}.py")
    assert newly_imported(before) == ["known.used", "known.used.deeper", "fresh"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("own", "/work/own.py"),
        ("known.not a name", f"{PACKAGES}/known/x.py"),
        ("known..twice", f"{PACKAGES}/known/x.py"),
        ("known." + "a" * LONGEST, f"{PACKAGES}/known/x.py"),
    ],
)
def test_nothing_else_is_reported(load: Callable[[str, str], None], name: str, file: str) -> None:
    load("known", f"{PACKAGES}/known/__init__.py")
    before = frozenset(sys.modules)
    load(name, file)
    assert newly_imported(before) == []
