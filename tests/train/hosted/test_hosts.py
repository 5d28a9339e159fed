from __future__ import annotations

import pytest

from needlework.errors import UserError
from needlework.train.hosted.hosts import kind_of


def test_each_host_has_its_own_address_and_key() -> None:
    assert kind_of("openai").key == "OPENAI_API_KEY"
    assert kind_of("together").base_url == "https://api.together.ai/v1"


def test_an_unknown_host_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no host 'azure'\. Known: openai, together"):
        kind_of("azure")
