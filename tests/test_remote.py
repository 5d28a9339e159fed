from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from needlework import remote
from needlework.errors import UserError
from needlework.remote import NO_KEY, ContextError, Pace, RemoteError, connect, explained
from tests.hosting import CLOSED, KEY, Fault, Service, error, serving


def ask(service: Service, retries: int = remote.RETRIES) -> Any:
    client = connect(service.url, "OPENAI_API_KEY")
    with explained(client):
        return client.with_options(max_retries=retries).fine_tuning.jobs.with_raw_response.list().http_response.json()


def fail(service: Service, *faults: Fault) -> RemoteError:
    service.faults["jobs"].extend(faults)
    with pytest.raises(RemoteError) as caught:
        ask(service, retries=0)
    assert KEY not in str(caught.value)
    return caught.value


def test_without_a_key_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"TOGETHER_API_KEY is not set: it should hold your key for a\.b"):
        connect("https://a.b/v1", "TOGETHER_API_KEY")


@pytest.mark.parametrize("key", ["\N{LEFT DOUBLE QUOTATION MARK}sk-secret", "sk-secret\nsk-other"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UserError, match=r"OPENAI_API_KEY holds .* that no key has\. Copy it again") as caught:
        connect("https://a.b/v1", "OPENAI_API_KEY")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["api.openai.com/v1", "ftp://a.b", "https://", "http://localhost:8000v1", "http://[::1/v1", "https://.b/v1"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="should look like https://api"):
        connect(address, "OPENAI_API_KEY")


@pytest.mark.parametrize("address", ["http://api.openai.com/v1", "http://8.8.8.8/v1", "http://134744072/v1"])
def test_a_key_is_not_sent_in_clear_through_the_internet(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(UserError, match=r"unencrypted\. Give its https address") as caught:
        connect(address, "OPENAI_API_KEY")
    assert KEY not in str(caught.value)
    for near in ("http://127.0.0.1:1", "http://10.0.0.7:8000/v1", "http://gpu-box:8000/v1", "http://gpu.local/v1"):
        connect(near, "OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY")
    connect(address, "OPENAI_API_KEY", keyless=True)


@pytest.mark.parametrize(
    "address", ["https://me:secret@a.b/v1", "htp://me:secret@a.b", "https://a.b/v1?key=secret", "https://a.b/v1#secret"]
)
def test_secrets_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UserError, match="keys belong in OPENAI_API_KEY") as caught:
        connect(address, "OPENAI_API_KEY")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("fault", [error(429), error(500), error(503), CLOSED])
def test_what_passes_is_tried_again(service: Service, fault: Fault) -> None:
    service.faults["jobs"].append(fault)
    assert ask(service)["data"] == []
    assert service.calls == ["jobs", "jobs"]


@pytest.mark.parametrize(
    ("fault", "message", "refused"),
    [
        (error(400, "n_epochs is too large."), r"refuses the request \(400\): n_epochs is too large\.$", True),
        (error(403, "no access"), r"does not allow this to your key \(403\): no access", True),
        (error(404, "no such model"), r"does not know what was asked for \(404\): no such model", True),
        (error(422, "bad"), r"refuses the request \(422\)", True),
        (error(409, "locked"), r"\(409\)", False),
        (error(429, "slow down"), r"takes no more requests now \(429\): slow down", True),
        (error(429, "buy", code="insufficient_quota"), r"no quota left \(429\): buy", True),
        (error(500, "oops"), r"failed \(500\): oops\. Try again later", False),
        (Fault(400, '{"error": "bad thing"}'), r"refuses the request \(400\): bad thing", True),
        (Fault(422, '{"detail": [{"msg": "Field required"}]}'), r"\(422\): \[\{'msg': 'Field required'\}\]", True),
        (Fault(502, "<html>"), r"failed \(502\): no reason given", False),
        (CLOSED, "cannot be reached", False),
        (Fault(200, '{"data": [', accept=True), "an answer that its API does not document", False),
    ],
)
def test_each_error_is_one_sentence_that_says_whether_it_had_an_effect(
    service: Service, fault: Fault, message: str, refused: bool
) -> None:
    found = fail(service, fault)
    assert re.search(message, str(found))
    assert found.refused is refused


def test_only_a_limit_that_passes_is_worth_waiting_for(service: Service) -> None:
    assert fail(service, error(429)).wait == pytest.approx(0.01)
    assert fail(service, error(429, headers=())).wait == 10
    assert fail(service, error(429, headers=(("Retry-After", "-1"),))).wait == 0
    assert fail(service, error(429, code="insufficient_quota")).wait is None
    assert fail(service, error(400)).wait is None


def test_a_wrong_key_is_explained_without_what_the_server_quotes_of_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with pytest.raises(RemoteError, match=r"does not accept the key \(401\)") as caught:
        ask(service)
    assert "sk-" not in str(caught.value)
    assert service.calls == ["jobs"]


def test_a_key_that_a_server_repeats_is_taken_out(service: Service) -> None:
    assert "bad [key] given" in str(fail(service, error(400, f"bad {KEY} given")))


def test_what_a_server_says_does_not_reach_the_terminal_as_control_characters(service: Service) -> None:
    assert "bad ]0;title [2J given" in str(fail(service, error(400, "bad \x1b]0;title\x07\x1b[2J given")))


@pytest.mark.parametrize(
    ("fault", "too_long"),
    [
        (error(400, "This model's maximum context length is 4096 tokens. However, you requested 5000."), True),
        (error(400, "x", code="context_length_exceeded"), True),
        (error(400, "the request exceeds the available context size"), True),
        (error(413, "prompt is too long: 5000 tokens > 4096 maximum"), True),
        (
            Fault(422, '{"error": "`inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "x"}'),
            True,
        ),
        (error(422, "`inputs` tokens + `max_new_tokens` must be <= 4096"), True),
        (error(400, "max_tokens is too large"), False),
        (error(500, "maximum context length"), False),
    ],
)
def test_a_prompt_that_is_too_long_is_told_from_other_refusals(service: Service, fault: Fault, too_long: bool) -> None:
    assert isinstance(fail(service, fault), ContextError) is too_long


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    client = connect("http://localhost:1/v1", "OPENAI_API_KEY", keyless=True, timeout=7)
    assert (client.api_key, client.timeout) == (NO_KEY, 7)


def test_a_pace_spaces_what_it_lets_through() -> None:
    pace, start = Pace(1200), time.monotonic()
    threads = [threading.Thread(target=pace.wait) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert time.monotonic() - start >= 0.2


def test_a_server_that_hangs_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TIMEOUT", 0.1)
    found = fail(service, Fault(200, "{}", hang=0.5))
    assert "did not answer in time" in str(found)
    assert not found.refused


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as service:
        pass
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1 cannot be reached: .*[^.]\. Check the network and --base-url"):
        ask(service, retries=0)
