from __future__ import annotations

import pytest

from needlework.benchmarks import Fit
from needlework.dataset.budget import PlainCounter
from needlework.evaluation import fitting
from needlework.models.chat import Renderer


@pytest.fixture
def fit(renderer: Renderer) -> Fit:
    return fitting(PlainCounter(renderer), "lengths")
