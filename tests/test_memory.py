from __future__ import annotations

import sys
from pathlib import Path

import pytest

from needlework.memory import release


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc keeps freed memory, others do not")
def test_release_gives_holes_in_the_heap_back() -> None:
    # Small enough for the heap; every other block is kept, so its end cannot shrink.
    blocks = [b"x" * 65_536 for _ in range(4096)]
    kept = blocks[::2]
    del blocks
    before = resident()
    release()
    assert before - resident() > 64 * 2**20
    assert len(kept) == 2048
