"""Memory of a zygote: what its forks will take comes in large pages, and is not there before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, os, re
from vitrine_harness import memory

kept = [bytes([number % 251]) * 1000 for number in range(20_000)]
memory.settle()
intact = all(item == bytes([number % 251]) * 1000 for number, item in enumerate(kept))
found, name = [], ""
for line in open("/proc/self/smaps"):
    if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        name, resident = line.split(maxsplit=5)[5].strip() if line.count(" ") > 5 else "", 0
    elif line.startswith("Rss:"):
        resident = int(line.split()[1]) * 1024
    elif line.startswith("VmFlags:") and name == "[heap]":
        found.append({"size": end - start, "resident": resident, "large": " hg" in line})
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, json.dumps(sum(bytearray(b"1" * (20 << 20))) == 49 * (20 << 20)).encode())
    os._exit(0)
print(json.dumps({"intact": intact, "heap": found, "fork": json.loads(os.read(reader, 100))}))
"""


def test_forks_take_new_memory_in_large_pages() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["intact"]
    assert found["fork"]
    if Path("/sys/kernel/mm/transparent_hugepage").is_dir():
        (reserve,) = [part for part in found["heap"] if part["large"]]
        assert reserve["size"] >= 20 << 20
        assert reserve["resident"] < reserve["size"] / 4
