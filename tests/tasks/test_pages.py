"""The samples in the pages of the tasks are what the code beside them prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "tasks").glob("*.md"))
SAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_sample_is_what_the_code_prints(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = SAMPLE.findall(page.read_text(encoding="utf-8"))
    assert samples
    for code, printed in samples:
        exec(code, {})
        assert capsys.readouterr().out == printed
