from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needlework.haystack import Haystack, Needle, Prediction, read
from needlework.inference import openai
from needlework.inference.backend import Answer, Ask, TooLongError
from needlework.inference.evaluate import Evaluation, evaluate
from needlework.inference.openai import MALFORMED, OpenAIBackend, fewest_tokens
from needlework.remote import RETRIES, RemoteError, connect
from tests.hosting import KEY, Fault, Service, error, serving


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Service, Any]]:
    with serving() as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setattr(openai, "PAUSE", 0.01)
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
    assert {answer.prompt_tokens for answer in answers} == {10}


CHAT = '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 7}}'


def test_what_passes_is_asked_again(service: Service, client: Any) -> None:
    service.faults["chat"].extend([error(429), error(500), Fault()])
    assert len(OpenAIBackend(client, "m").answer(asks(2), max_new_tokens=9, stop=None)) == 2


def test_a_limit_is_waited_for_longer_than_the_client_does(service: Service, client: Any) -> None:
    service.faults["chat"].extend([error(429)] * 10)
    assert len(OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)) == 1
    assert len(service.calls) == 11


def test_an_account_without_quota_is_not_waited_for(service: Service, client: Any) -> None:
    service.faults["chat"].extend([error(429, "buy", code="insufficient_quota")] * 10)
    with pytest.raises(RemoteError, match="no quota left"):
        OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)
    assert len(service.calls) == RETRIES + 1


def test_a_server_that_stalls_is_given_up(service: Service, client: Any) -> None:
    service.faults["chat"].append(Fault(200, CHAT, hang=0.4))
    impatient = client.with_options(timeout=0.1, max_retries=0)
    with pytest.raises(RemoteError, match="did not answer in time"):
        OpenAIBackend(impatient, "m").answer(asks(1), max_new_tokens=9, stop=None)


def test_an_answer_is_cut_where_scoring_reads_no_further(service: Service, client: Any) -> None:
    service.reply = lambda body: "one\ntwo"
    (answer,) = OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop="\n")
    assert answer == Answer("one", prompt_tokens=10, output_tokens=2)


def test_a_key_that_a_server_repeats_is_no_part_of_the_answer(service: Service, client: Any) -> None:
    service.reply = lambda body: f"Authorization: Bearer {KEY}"
    (answer,) = OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)
    assert answer.output == "Authorization: Bearer [key]"


def test_an_answer_without_text_is_empty(service: Service, client: Any) -> None:
    service.faults["chat"].append(Fault(200, CHAT.replace('"a"', "null")))
    (answer,) = OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)
    assert answer == Answer("", prompt_tokens=7, output_tokens=None)


MALFORMED_ANSWERS = [
    "[" * 100_000,
    CHAT.replace("7", "7" * 5000),
    *("{}", '{"choices": []}', '{"choices": [{"message": "a"}]}', "[", "<html>"),
    *(CHAT.replace("7", "null"), CHAT.replace('"a"', "5")),
]


@pytest.mark.parametrize("body", MALFORMED_ANSWERS)
def test_a_malformed_answer_is_no_answer(service: Service, client: Any, body: str) -> None:
    service.faults["chat"].extend([Fault(200, body)] * MALFORMED)
    with pytest.raises(RemoteError, match="its API does not document"):
        OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)


def test_an_answer_that_is_malformed_once_is_asked_for_again(service: Service, client: Any) -> None:
    service.faults["chat"].append(Fault(200, '{"choices": []}'))
    service.reply = echo
    (answer,) = OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)
    assert answer.output == "to q0?"


def test_waits_for_a_limit_do_not_count_as_malformed_answers(service: Service, client: Any) -> None:
    cut = Fault(200, '{"choices": []}')
    impatient = client.with_options(max_retries=0)
    service.faults["chat"].extend([*[error(429)] * MALFORMED, *[cut] * (MALFORMED - 1)])
    assert len(OpenAIBackend(impatient, "m").answer(asks(1), max_new_tokens=9, stop=None)) == 1


def test_a_prompt_that_the_server_refuses_as_too_long_is_named(service: Service, client: Any) -> None:
    service.faults["chat"].append(error(400, "This model's maximum context length is 4 tokens."))
    with pytest.raises(
        TooLongError, match=r"needle n0 is too long: .*maximum context length is 4 tokens\. Use shorter"
    ):
        OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)


def test_a_server_that_cuts_prompts_off_is_found_out(service: Service, client: Any) -> None:
    service.faults["chat"].append(Fault(200, CHAT.replace("7", "2")))
    with pytest.raises(
        TooLongError, match=r"n0 has 6 tokens at least, of which 127\.0\.0\.1 read 2: it cuts prompts off"
    ):
        OpenAIBackend(client, "m").answer(asks(1), max_new_tokens=9, stop=None)


def test_each_word_number_and_sign_is_a_token_at_least() -> None:
    needle = Needle("n", "n", "It's {122: 4548}, (once) co-op?", "", (), -1)
    # It's {122: 4548}, once) co op?; cl100k joins signs with the word behind them.
    assert fewest_tokens(Ask(Haystack("h", "own", "", (), (needle,)), needle)) == 1 + 4 + 1 + 1 + 1 + 1 + 1 + 1


def test_the_marks_of_a_script_are_part_of_its_words() -> None:
    needle = Needle("n", "n", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902", "", (), -1)
    assert fewest_tokens(Ask(Haystack("h", "own", "", (), (needle,)), needle)) == 2


def test_so_many_prompts_are_sent_in_a_minute(service: Service, client: Any) -> None:
    start = time.monotonic()
    OpenAIBackend(client, "m", requests_per_minute=600).answer(asks(4), max_new_tokens=9, stop=None)
    assert time.monotonic() - start >= 0.3


def evaluated(backend: OpenAIBackend, path: Path, count: int = 12, **options: Any) -> Evaluation:
    return evaluate(backend, haystacks(count), lambda needle, output: {"hit": True}, path, max_new_tokens=9, **options)


def test_so_many_requests_are_under_way_at_once(service: Service, client: Any, tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=5)
    # Each waits for three others: with fewer at once this breaks.
    service.faults["chat"].extend([Fault(200, CHAT, then=together.wait)] * 8)
    evaluated(OpenAIBackend(client, "m", concurrency=4), tmp_path / "p.jsonl", 8)
    assert not together.broken


def test_an_answer_is_on_disk_while_others_are_awaited(service: Service, client: Any, tmp_path: Path) -> None:
    path, seen = tmp_path / "p.jsonl", []

    def look() -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and len(seen) < 3:
            seen[:] = list(read(Prediction, f"{path}.partial"))

    service.faults["chat"].append(Fault(200, CHAT, then=look))
    evaluated(OpenAIBackend(client, "m", concurrency=2), path, 4)
    assert len(seen) == 3


def test_an_evaluation_that_failed_keeps_what_was_answered_and_asks_the_rest(
    service: Service, client: Any, tmp_path: Path
) -> None:
    service.reply, path = echo, tmp_path / "p.jsonl"
    backend = OpenAIBackend(client, "m", concurrency=3)
    refused = threading.Event()
    # One request fails while two others are under way, whose answers come after it.
    slow = Fault(200, CHAT, then=lambda: (refused.wait(5), time.sleep(0.2)))
    service.faults["chat"].extend([slow, slow, error(400, "no", then=refused.set)])
    with pytest.raises(RemoteError, match="refuses the request"):
        evaluated(backend, path)
    kept = len(list(read(Prediction, f"{path}.partial")))
    assert kept >= 2
    service.calls.clear()
    result = evaluated(backend, path)
    assert len(result.predictions) == 12
    assert len(service.calls) == 12 - kept


def test_prompts_that_the_server_refuses_as_too_long_are_skipped_on_request(
    service: Service, client: Any, tmp_path: Path
) -> None:
    service.faults["chat"].append(error(400, "too long", code="context_length_exceeded"))
    result = evaluated(OpenAIBackend(client, "m", concurrency=1), tmp_path / "p.jsonl", skip_too_long=True)
    assert (len(result.predictions), list(result.skipped)) == (11, ["n0"])
