from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needlework.haystack import Haystack, Needle, Prediction, read
from needlework.inference.backend import Ask
from needlework.inference.evaluate import evaluate
from needlework.inference.openai import BATCH, OpenAIBackend
from needlework.remote import RemoteError, connect
from tests.hosting import KEY, Fault, Service, error, serving


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Service, Any]]:
    with serving() as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        yield service, connect(service.url, "OPENAI_API_KEY")


@pytest.fixture
def service(served: tuple[Service, Any]) -> Service:
    served[0].reset()
    return served[0]


@pytest.fixture
def client(served: tuple[Service, Any]) -> Any:
    return served[1]


def haystacks(count: int) -> list[Haystack]:
    needles = [Needle(f"n{index}", f"g{index}", f"q{index}?", "a", ("a",), 0) for index in range(count)]
    return [Haystack(needle.id, "t", "Read.", ("gold",), (needle,)) for needle in needles]


def asks(count: int) -> list[Ask]:
    return [Ask(each, each.needles[0]) for each in haystacks(count)]


def echo(body: dict[str, Any]) -> str:
    return f"to {body['messages'][-1]['content'].split()[-1]}"


def test_the_haystack_is_asked_as_it_was_trained(service: Service, client: Any) -> None:
    OpenAIBackend(client, "ft:model", "Be brief.").answer(asks(1), max_new_tokens=9, stop="\n")
    assert service.bodies[-1] == (
        "chat",
        {
            "model": "ft:model",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Read.\n\ngold\n\nq0?"},
            ],
            "temperature": 0,
            "max_tokens": 9,
            "stop": ["\n"],
        },
    )


def test_without_a_system_message_or_a_stop_none_is_sent(service: Service, client: Any) -> None:
    OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)
    (_, body) = service.bodies[-1]
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "stop" not in body


def test_answers_come_in_the_order_of_the_asks_with_the_hosts_count_of_tokens(service: Service, client: Any) -> None:
    service.reply = echo
    answers = OpenAIBackend(client, "m").answer(asks(20), max_new_tokens=9, stop=None)
    assert [answer.output for answer in answers] == [f"to q{index}?" for index in range(20)]
    assert {answer.prompt_tokens for answer in answers} == {7}


def test_so_many_requests_are_under_way_at_once(service: Service, client: Any) -> None:
    together = threading.Barrier(4, timeout=5)
    # Each waits for three others: with fewer at once this breaks.
    service.faults["chat"].extend([Fault(200, CHAT, then=together.wait)] * 8)
    OpenAIBackend(client, "m", concurrency=4).answer(asks(8), max_new_tokens=9, stop=None)
    assert not together.broken


CHAT = '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 7}}'


def test_what_passes_is_asked_again(service: Service, client: Any) -> None:
    service.faults["chat"].extend([error(429), error(500), Fault()])
    assert len(OpenAIBackend(client, "m").answer(asks(2), max_new_tokens=9, stop=None)) == 2


def test_an_answer_is_cut_where_scoring_reads_no_further(service: Service, client: Any) -> None:
    service.reply = lambda body: "one\ntwo"
    (answer,) = OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop="\n")
    assert answer.output == "one"


def test_an_answer_without_text_is_empty(service: Service, client: Any) -> None:
    service.faults["chat"].append(Fault(200, CHAT.replace('"a"', "null")))
    (answer,) = OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)
    assert answer.output == ""


@pytest.mark.parametrize(
    "body", ["{}", '{"choices": []}', '{"choices": [{"message": "a"}]}', "[", CHAT.replace("7", "null")]
)
def test_a_malformed_answer_is_no_answer(service: Service, client: Any, body: str) -> None:
    service.faults["chat"].append(Fault(200, body))
    with pytest.raises(RemoteError, match="its API does not document"):
        OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)


def test_batches_hold_all_asks_in_order(client: Any) -> None:
    batches = OpenAIBackend(client, "m").batches(asks(BATCH + 3), max_new_tokens=9)
    assert [len(batch) for batch in batches] == [BATCH, 3]
    assert [index for batch in batches for index in batch] == list(range(BATCH + 3))


def test_an_evaluation_that_failed_goes_on_where_it_was_and_counts_no_failure(
    service: Service, client: Any, tmp_path: Path
) -> None:
    service.reply = echo
    path = tmp_path / "p.jsonl"
    backend = OpenAIBackend(client, "m")

    def ask() -> list[Prediction]:
        return evaluate(backend, haystacks(BATCH + 3), lambda needle, output: {"hit": True}, path, max_new_tokens=9)

    service.faults["chat"].extend([Fault(200, CHAT)] * BATCH + [error(400)])
    with pytest.raises(RemoteError):
        ask()
    assert len(list(read(Prediction, f"{path}.partial"))) == BATCH
    service.calls.clear()
    service.faults.clear()
    assert len(ask()) == BATCH + 3
    assert service.calls == ["chat"] * 3
