"""Making the memory of a zygote cheap to fork, and new memory cheap to take for its forks.

What a cold start spends its time on, once nothing is imported any more, is the kernel: copying tables of
pages at a fork, taking them down at the end, and an interruption for every page that is touched for the
first time. Large pages save most of it. Nothing here changes what a program computes; where the kernel or
the C library cannot do it, it is left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE_PAGE = 2 << 20
RESERVE = 24 << 20
"""Bytes at the end of the heap that forks take in large pages, when they take them."""
LARGEST_FROM_HEAP = 32 << 20
"""Allocations up to this size come from the heap: where the C library gets to by itself, after some time."""
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def settle() -> None:
    """Keep what is shared with forks from being touched by their garbage collections, and in large pages."""
    gc.collect()
    gc.freeze()
    c = ctypes.CDLL(None)
    _reserve(c)
    _collapse(c)


def _reserve(c: ctypes.CDLL) -> None:
    """Extend the heap by memory that is not there yet, and comes in large pages (mallopt(3))."""
    if not hasattr(c, "mallopt"):
        return
    c.malloc.restype, c.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    c.free.restype, c.free.argtypes = None, (ctypes.c_void_p,)
    c.mallopt(_M_MMAP_THRESHOLD, LARGEST_FROM_HEAP)
    # As much stays when it is freed, else it would be taken page by page at every call of a model.
    c.mallopt(_M_TRIM_THRESHOLD, LARGEST_FROM_HEAP)
    start = c.malloc(RESERVE)
    if start is not None:
        _advise(c, start, start + RESERVE, _MADV_HUGEPAGE)
        c.free(start)


def _collapse(c: ctypes.CDLL) -> None:
    """Put what was written so far into large pages (madvise(2), since Linux 6.1)."""
    for start, end in list(_written()):
        _advise(c, start, end, _MADV_COLLAPSE)


def _written() -> Iterator[tuple[int, int]]:
    """Yield the ranges of private memory that no file is behind."""
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            fields = line.split(maxsplit=5)
            is_stack = len(fields) > 5 and fields[5].startswith("[stack")
            if fields[1] == "rw-p" and fields[4] == "0" and not is_stack:
                start, _, end = fields[0].partition("-")
                yield int(start, 16), int(end, 16)


def _advise(c: ctypes.CDLL, start: int, end: int, advice: int) -> None:
    """Give advice about the large pages within a range; the kernel may not follow it."""
    first, last = -(-start // LARGE_PAGE) * LARGE_PAGE, end // LARGE_PAGE * LARGE_PAGE
    if first < last:
        c.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)
