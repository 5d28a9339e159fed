from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from needlework.downloads import local
from needlework.errors import DataError

ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Serves its path, but for one that is missing and one that is cut off."""

    def do_GET(self) -> None:
        ASKED.append(self.path)
        content = self.path.encode()
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", str(len(content) + 10 * ("cut" in self.path)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    ASKED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_path_is_itself() -> None:
    assert local("data/kv.jsonl.gz") == Path("data/kv.jsonl.gz")


def test_an_address_is_downloaded_once(server: str, tmp_path: Path) -> None:
    first, again = local(f"{server}/qa/oracle.jsonl.gz"), local(f"{server}/qa/oracle.jsonl.gz")
    assert first == again
    assert first.name == "oracle.jsonl.gz"
    assert first.is_relative_to(tmp_path)
    assert first.read_bytes() == b"/qa/oracle.jsonl.gz"
    assert len(ASKED) == 1


def test_files_of_one_name_at_two_addresses_are_two(server: str) -> None:
    assert {local(f"{server}/{folder}/oracle").read_text() for folder in "ab"} == {"/a/oracle", "/b/oracle"}


@pytest.mark.parametrize(
    ("path", "message"), [("missing.gz", "missing.gz: the server says 404 Not Found"), ("cut.gz", "cut.gz: Incomplete")]
)
def test_what_cannot_be_downloaded_whole_is_an_error_and_leaves_nothing(
    server: str, tmp_path: Path, path: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        local(f"{server}/{path}")
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", "http://127.0.0.1:9/ü.jsonl", "http://[127.0.0.1/x"])
def test_an_address_that_is_not_there_or_is_none_is_an_error(address: str) -> None:
    with pytest.raises(DataError, match=rf"cannot download {re.escape(address)}: .*give the path of a copy"):
        local(address)
