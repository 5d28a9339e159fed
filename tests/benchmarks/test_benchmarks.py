from __future__ import annotations

import re

import numpy as np
import pytest

from needlework.corpus import squad
from needlework.tasks import TASKS


@pytest.mark.parametrize("name", ["mdqa", "multidocqa", "in2", "niah"])
def test_training_text_is_of_the_half_that_no_benchmark_reports_on(name: str) -> None:
    trained, evaluated = (" ".join(passage.text for passage in squad(half)) for half in ("train", "eval"))
    for seed in range(5):
        haystack = TASKS[name]().draft(np.random.default_rng(seed), 60, 4).haystack(60, "0")
        answers = {needle.answer for needle in haystack.needles}
        texts = [re.sub(r"^Document \[\d+\]\(Title: [^)]*\) ", "", item) for item in set(haystack.items) - answers]
        assert len(texts) >= 56
        assert all(text in trained for text in texts)
        # A few words may stand in both by chance.
        assert not any(text in evaluated for text in texts if len(text.split()) > 7)
