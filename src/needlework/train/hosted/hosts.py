"""The hosts there are, and how to reach them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from needlework.errors import UserError
from needlework.remote import OPENAI_URL
from needlework.train.hosted.api import Host
from needlework.train.hosted.openai import OpenAIHost
from needlework.train.hosted.together import TogetherHost

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass(frozen=True, slots=True)
class Kind:
    """How to reach a host."""

    make: Callable[[OpenAI], Host]
    base_url: str
    key: str
    """The environment variable that holds the key."""


HOSTS = {
    "openai": Kind(OpenAIHost, OPENAI_URL, "OPENAI_API_KEY"),
    "together": Kind(TogetherHost, "https://api.together.ai/v1", "TOGETHER_API_KEY"),
}


def kind_of(name: str) -> Kind:
    """Return how to reach the host of a name.

    Raises:
        UserError: If there is none; names those there are.
    """
    if name not in HOSTS:
        raise UserError(f"there is no host {name!r}. Known: {', '.join(HOSTS)}.")
    return HOSTS[name]
