"""Giving freed memory back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable


def _trim() -> Callable[[int], object] | None:
    if not sys.platform.startswith("linux"):
        return None
    # None with another C library than glibc, which is the one that needs it.
    trim: Callable[[int], object] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


_TRIM = _trim()


def release() -> None:
    """Give free pages of the heap back to the system.

    Steps and batches of changing lengths leave holes between tensors, which glibc would keep forever.
    """
    if _TRIM:
        _TRIM(0)
