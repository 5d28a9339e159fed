"""OpenAI-compatible servers: the client, and what its errors mean in one sentence."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from needlework.errors import UserError

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

OPENAI_URL = "https://api.openai.com/v1"

RETRIES = 6
"""Retries of a failed call: about half a minute in all, longer where the server says when to come back."""
TIMEOUT = 120.0
"""Seconds without a byte from the server."""
SHORTEST = 16
"""Fewest characters of a key that is a secret."""
NO_KEY = "no-key-was-given"
"""What is sent as the key where there is none."""

TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)|prompt is too long|max_new_tokens. must be|reduce the length", re.IGNORECASE
)
"""How servers say that a prompt exceeds the model's context: OpenAI, vLLM, SGLang, llama.cpp, TGI, Anthropic."""


class RemoteError(UserError):
    """A server that refused a request, failed, or was not reached."""

    def __init__(self, message: str, *, refused: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.refused = refused
        """Whether it is certain that the request had no effect."""
        self.wait = wait
        """Seconds after which to send it again; None where that is of no use."""


class MalformedError(RemoteError):
    """An answer that is not what the API documents."""


class ContextError(RemoteError):
    """A prompt that a server refused because it exceeds the model's context."""


def connect(base_url: str, variable: str, *, keyless: bool = False, timeout: float | None = None) -> OpenAI:
    """Return a client of a server, with the key from an environment variable.

    Args:
        base_url: The server's address.
        variable: The environment variable.
        keyless: Go on without a key, which self-hosted servers mostly do not ask for.
        timeout: Seconds without a byte from the server, where they are not `TIMEOUT`.

    Raises:
        UserError: If there is no key, or the address is not one.
    """
    from openai import OpenAI

    if {"@", "?", "#"}.intersection(base_url):
        # It is written into the run's folder, and quoted below.
        raise UserError(f"the base URL holds a user, a password or a query: keys belong in {variable} alone.")
    try:
        address = urlsplit(base_url)
        # What stands in the place of the port is looked at only when that is asked for.
        is_address = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        # It fails where a part of the name is empty or too long.
        (address.hostname or "").encode("idna")
    except ValueError:
        is_address = False
    if not is_address:
        raise UserError(f"the base URL {base_url!r} should look like {OPENAI_URL}.")
    key = os.environ.get(variable, "").strip()
    if not key and not keyless:
        raise UserError(f"{variable} is not set: it should hold your key for {address.hostname}.")
    if key and address.scheme == "http" and not _is_near(address.hostname or ""):
        raise UserError(f"{base_url} would be sent your key ({variable}) unencrypted. Give its https address.")
    if not key.isascii() or not key.isprintable():
        # It could not be sent, and the error would quote it.
        raise UserError(f"{variable} holds quotation marks, line breaks or the like that no key has. Copy it again.")
    return OpenAI(api_key=key or NO_KEY, base_url=base_url, max_retries=RETRIES, timeout=timeout or TIMEOUT)


def _is_near(host: str) -> bool:
    """Return whether a host is this machine or one of its own network."""
    try:
        return ip_address(host).is_private
    except ValueError:
        # A number alone is an address, too.
        return ("." not in host and host[:1].isalpha()) or host.endswith((".local", ".localhost", ".internal", ".lan"))


@contextmanager
def explained(client: OpenAI) -> Iterator[None]:
    """Turn what goes wrong with a call of the client into a `RemoteError`, without the key in it."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

    name = client.base_url.host
    try:
        yield
    except APITimeoutError:
        raise RemoteError(f"{name} did not answer in time. Try again later.", refused=False) from None
    except APIConnectionError as error:
        reason = _clean(str(error.__cause__ or error), client).rstrip(".")
        raise RemoteError(
            f"{name} cannot be reached: {reason}. Check the network and --base-url.", refused=False
        ) from None
    except APIStatusError as error:
        raise _of_status(error, name, client) from None
    except (OpenAIError, ValueError, RecursionError) as error:
        # JSON that is none, nested too deeply, or has a number of more digits than Python reads.
        raise malformed(client, _clean(str(error), client)) from None


def malformed(client: OpenAI, what: str) -> MalformedError:
    """Return the error of an answer that is not what the API documents."""
    return MalformedError(
        f"{client.base_url.host} gave an answer that its API does not document ({what}). "
        f"Is {client.base_url} the address of such an API?",
        refused=False,
    )


def _of_status(error: APIStatusError, name: str, client: OpenAI) -> RemoteError:
    status, code = error.status_code, str(error.code or "")
    reason = _clean(_reason(error.body), client).rstrip(".")
    # A server that is out of time or in conflict may have done what was asked, and so may one that failed.
    refused = 400 <= status < 500 and status not in (408, 409)
    wait = None
    if status in (400, 413, 422) and (code == "context_length_exceeded" or TOO_LONG.search(reason)):
        return ContextError(f"{name} refuses the prompt as too long ({status}): {reason}.", refused=True)
    if status == 401:
        # The reason quotes parts of the key.
        message = f"{name} does not accept the key (401). Check the key in the environment and --base-url."
    elif status == 403:
        message = f"{name} does not allow this to your key (403): {reason}."
    elif status == 404:
        message = f"{name} does not know what was asked for (404): {reason}. Check the model's name and --base-url."
    elif status == 429 and "quota" in code:
        message = f"your account at {name} has no quota left (429): {reason}."
    elif status == 429:
        message, wait = f"{name} takes no more requests now (429): {reason}. Try again later.", _wait(error)
    elif status < 500:
        message = f"{name} refuses the request ({status}): {reason}."
    else:
        message = f"{name} failed ({status}): {reason}. Try again later."
    return RemoteError(message, refused=refused, wait=wait)


def _reason(body: object) -> str:
    """Return the reason in the body of an error: a message as OpenAI's, FastAPI's detail, or TGI's bare text."""
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail")
    # A proxy's page says nothing in a sentence.
    return "no reason given" if not body or str(body).startswith("<") else str(body)


def _wait(error: APIStatusError) -> float:
    try:
        return max(0.0, min(120.0, float(error.response.headers.get("retry-after", ""))))
    except ValueError:
        return 10.0


def _clean(text: str, client: OpenAI) -> str:
    # What a server says is written to terminals.
    text = "".join(each if each.isprintable() else " " for each in without_key(text, client))
    return " ".join(text.split())[:300]


def without_key(text: str, client: OpenAI) -> str:
    """Return what a server says without the key, whole or cut off, which some repeat in their errors."""
    key = client.api_key
    # A shorter one is a placeholder such as EMPTY, which may well be a word of an answer.
    return re.sub(rf"{re.escape(key[:12])}\S*", "[key]", text) if len(key) >= SHORTEST else text


class Pace:
    """Lets threads through one at a time, at a limited rate.

    Args:
        per_minute: How many a minute; None sets no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is this thread's turn."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._interval
        time.sleep(max(0.0, turn - time.monotonic()))
