"""A local server with the finetuning APIs of OpenAI and Together as they are documented, and with faults on demand.

Each request is an operation: upload, files, create, jobs, job, events, cancel or chat. `faults[operation]` holds what
goes wrong with the next ones, in turn.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-of-the-user"
PAGE = 2

OPERATIONS = {
    "openai": [
        ("upload", r"POST /v1/files"),
        ("files", r"GET /v1/files"),
        ("create", r"POST /v1/fine_tuning/jobs"),
        ("jobs", r"GET /v1/fine_tuning/jobs"),
        ("events", r"GET /v1/fine_tuning/jobs/(.+)/events"),
        ("cancel", r"POST /v1/fine_tuning/jobs/(.+)/cancel"),
        ("job", r"GET /v1/fine_tuning/jobs/(.+)"),
        ("chat", r"POST /v1/chat/completions"),
    ],
    "together": [
        ("upload", r"POST /v1/files/upload"),
        ("files", r"GET /v1/files"),
        ("create", r"POST /v1/fine-tunes"),
        ("jobs", r"GET /v1/fine-tunes"),
        ("events", r"GET /v1/fine-tunes/(.+)/events"),
        ("cancel", r"POST /v1/fine-tunes/(.+)/cancel"),
        ("job", r"GET /v1/fine-tunes/(.+)"),
        ("chat", r"POST /v1/chat/completions"),
    ],
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request."""

    status: int | None = None
    """Answer with this; by default the connection is closed without an answer."""
    body: str = ""
    headers: tuple[tuple[str, str], ...] = (("retry-after-ms", "1"), ("retry-after", "0.01"))
    accept: bool = False
    """Do first what was asked."""
    hang: float = 0
    """Seconds to wait before."""
    then: Callable[[], object] = lambda: None
    """Called before the answer."""


def error(status: int, message: str = "for a test", **options: Any) -> Fault:
    code = options.pop("code", None)
    return Fault(status, json.dumps({"error": {"message": message, "code": code}}), **options)


CLOSED = Fault()
LOST = Fault(accept=True)
"""The request arrives and does what it should; the answer does not."""


@dataclass
class Service:
    """The server's state."""

    style: str = "openai"
    url: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """The newest first."""
    happened: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """The events of each job, the newest first."""
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    calls: list[str] = field(default_factory=list)
    bodies: list[tuple[str, Any]] = field(default_factory=list)
    reply: Callable[[dict[str, Any]], str] = lambda body: "nothing"

    def reset(self) -> None:
        """Forget all but the address."""
        self.__init__(self.style, self.url)  # type: ignore[misc]

    def end(self, status: str, number: int = 0) -> None:
        """Let a job end."""
        job = self.jobs[number]
        job["status"] = status
        if status == "succeeded":
            job |= {"fine_tuned_model": f"ft:{job['model']}:{job['suffix']}", "trained_tokens": 1234}

    def do(self, operation: str, id: str, query: dict[str, str], body: Any) -> object:
        if operation == "upload":
            made = {"id": f"file-{len(self.files)}", "object": "file", **body}
            self.files.insert(0, made)
            return made
        if operation == "create":
            status = "validating_files" if self.style == "openai" else "pending"
            made = {"id": f"job-{len(self.jobs)}", "status": status, **body}
            if self.style == "together":
                made["model_output_name"] = f"me/{body['model']}-{body['suffix']}"
            self.jobs.insert(0, made)
            return made
        if operation == "chat":
            text = self.reply(body)
            tokens = sum(len(re.findall(r"[^\W\d_]+|\d+|[^\w\s]", each["content"])) for each in body["messages"])
            usage = {"prompt_tokens": tokens + 4, "completion_tokens": len(text.split())}
            return {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
        if operation in ("job", "cancel"):
            job = next(each for each in self.jobs if each["id"] == id)
            if operation == "cancel":
                job["status"] = "cancelled"
            return job
        lists = {"files": self.files, "jobs": self.jobs, "events": self.happened[id]}
        return self._page(lists[operation], query)

    def _page(self, entries: list[dict[str, Any]], query: dict[str, str]) -> object:
        if self.style == "together":
            return {"data": entries}
        ids = [entry["id"] for entry in entries]
        start = ids.index(query["after"]) + 1 if "after" in query else 0
        return {"object": "list", "data": entries[start : start + PAGE], "has_more": start + PAGE < len(entries)}


def handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self._handle({})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type", "")
            self._handle(_form(kind, content) if "multipart" in kind else json.loads(content or b"{}"))

        def _handle(self, body: Any) -> None:
            path, _, rest = self.path.partition("?")
            query = dict(part.split("=", 1) for part in rest.split("&") if part)
            matches = ((name, re.fullmatch(form, f"{self.command} {path}")) for name, form in OPERATIONS[service.style])
            operation, match = next((name, match) for name, match in matches if match)
            id = match.group(1) if match.groups() else ""
            service.calls.append(operation)
            service.bodies.append((operation, body))
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                self._answer(401, json.dumps({"error": {"message": f"Incorrect API key: {KEY[:9]}"}}), ())
                return
            fault = service.faults[operation].popleft() if service.faults[operation] else None
            result = service.do(operation, id, query, body) if fault is None or fault.accept else None
            if fault is None:
                self._answer(200, json.dumps(result), ())
                return
            threading.Event().wait(fault.hang)
            fault.then()
            if fault.status is None:
                self.close_connection = True
            else:
                self._answer(fault.status, fault.body, fault.headers)

        def _answer(self, status: int, body: str, headers: tuple[tuple[str, str], ...]) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            # Who was left hanging may be gone.
            with suppress(ConnectionError):
                self.wfile.write(content)

    return Handler


def _form(kind: str, content: bytes) -> dict[str, Any]:
    """Return the fields of a form, and of its file the name, size and lines."""
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    found: dict[str, Any] = {}
    for part in message.get_payload():
        value = part.get_payload(decode=True)
        if name := part.get_filename():
            found |= {"filename": name, "bytes": len(value), "lines": value.decode().splitlines()}
        else:
            found[part.get_param("name", header="content-disposition")] = value.decode()
    return found


@contextmanager
def serving(style: str = "openai") -> Iterator[Service]:
    """Run a server for a while."""
    service = Service(style)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(service))
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
