"""A server with a host's API, and the host's adapter connected to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

from needlework.remote import connect
from needlework.train.hosted.api import Host, Request
from needlework.train.hosted.openai import OpenAIHost
from needlework.train.hosted.together import TogetherHost
from tests.hosting import KEY, Service, serving

REQUEST = Request("needle-1", "base-model", epochs=3, seed=5, learning_rate=1e-5, lora_rank=16)


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[str], tuple[Service, Host]]]:
    """Return what starts a server of a style with its adapter, once: to make a client takes longer than most tests."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, OPENAI_API_KEY=KEY))

        @cache
        def serve(style: str) -> tuple[Service, Host]:
            service = stack.enter_context(serving(style))
            client = connect(service.url, "OPENAI_API_KEY")
            return service, OpenAIHost(client) if style == "openai" else TogetherHost(client)

        yield serve


@pytest.fixture(params=["openai", "together"])
def service(request: pytest.FixtureRequest, served: Callable[[str], tuple[Service, Host]]) -> Service:
    service, _ = served(request.param)
    service.reset()
    return service


@pytest.fixture
def host(service: Service, served: Callable[[str], tuple[Service, Host]]) -> Host:
    return served(service.style)[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": []}\n' * 10)
    return path
