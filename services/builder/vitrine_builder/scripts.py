"""Console scripts that work inside a sandbox, where the environment is at `/env`."""

from __future__ import annotations

import configparser
import re

SHEBANG = b"#!/env/bin/python\n"
_CONSOLE = """\
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({call}())
"""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_SECTIONS = ("console_scripts", "gui_scripts")


def relocated(content: bytes) -> bytes:
    """Return a wheel's script, started by the environment's interpreter where it asks for a Python at all.

    Source: binary distribution format, "Recommended installer features": `#!python` stands for the target's.
    """
    head, newline, rest = content.partition(b"\n")
    return SHEBANG + rest if newline and re.match(rb"#!pythonw?\b", head) else content


def console_scripts(entry_points: str) -> dict[str, bytes]:
    """Return the programs that `entry_points.txt` asks for, by name; what is no name or object is left out.

    Source: entry points specification.
    """
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(entry_points)
    except configparser.Error:
        return {}
    found = {}
    for section in _SECTIONS:
        for name, goal in parser.items(section) if parser.has_section(section) else ():
            module, _, call = (part.strip() for part in goal.partition("[")[0].partition(":"))
            if _NAME.fullmatch(name) and _DOTTED.fullmatch(module) and _DOTTED.fullmatch(call):
                text = _CONSOLE.format(module=module, first=call.partition(".")[0], call=call)
                found[name] = SHEBANG + text.encode()
    return found
