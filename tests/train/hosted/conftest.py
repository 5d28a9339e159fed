"""A server with a host's API, and the host's adapter connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from needlework.remote import connect
from needlework.train.hosted.api import Host, Request
from needlework.train.hosted.openai import OpenAIHost
from needlework.train.hosted.together import TogetherHost
from tests.hosting import KEY, Service, serving

REQUEST = Request("needle-1", "base-model", epochs=3, seed=5, learning_rate=1e-5, lora_rank=16)


@pytest.fixture(params=["openai", "together"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with serving(request.param) as service:
        yield service


@pytest.fixture
def host(service: Service, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client = connect(service.url, "OPENAI_API_KEY")
    return OpenAIHost(client) if service.style == "openai" else TogetherHost(client)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": []}\n' * 10)
    return path
