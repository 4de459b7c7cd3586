"""A local OpenAI-compatible endpoint for the tiny teachers.

Flow: POST /v1/chat/completions → checks → `answers` → a completion; GET /v1/models lists some names.

**Errors have OpenAI's shape**: 404 `model_not_found`, 400 for an invalid request. The server survives all of
them.
**Only 127.0.0.1 is served** unless `--host` names another address.

Run: `python -m tracelake.producers.local_teachers.server --port 8815`.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tracelake.producers.local_teachers.answers import LISTED_TEACHERS, Teacher, answer, teacher_named
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.message import Message

BODY_SIZE_BYTES_MAX = 16 * 2**20
TOKEN = re.compile(r"\w+|\S")


class RequestRefusedError(Exception):
    """A request that gets an error body; only raised in this module. Arguments: HTTP status, message, code,
    parameter.
    """


class TeacherServer:
    """A running server; a context manager. Port 0 takes a free port."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._http = _HttpServer((host, port), _Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, name="teachers", daemon=True)

    @property
    def base_url(self) -> str:
        """The `base_url` for an OpenAI client."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    # The default queue of 5 resets connections of a replay that asks many questions at once.
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes; Nagle's algorithm would delay the second.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._respond(lambda: _models(self.path))

    def do_POST(self) -> None:
        self._respond(lambda: _completion(self.path, self._body()))

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the lake records the requests."""

    def _respond(self, make: Any) -> None:
        try:
            status, body = 200, make()
        except RequestRefusedError as refusal:
            status, body = refusal.args[0], _error_body(*refusal.args[1:])
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_SIZE_BYTES_MAX:
            # The unread body makes the connection unusable.
            self.close_connection = True
            raise RequestRefusedError(400, "a body with a Content-Length is needed", "invalid_request", None)
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise RequestRefusedError(400, "the body is not JSON", "invalid_json", None) from error
        if not isinstance(body, dict):
            raise RequestRefusedError(400, "the body is not an object", "invalid_request", None)
        return body


def _models(path: str) -> dict[str, Any]:
    if path != "/v1/models":
        raise RequestRefusedError(404, f"no such path: {path}", "not_found", None)
    models = [
        {"id": name, "object": "model", "created": 0, "owned_by": "tracelake"} for name in LISTED_TEACHERS
    ]
    return {"object": "list", "data": models}


def _completion(path: str, request: dict[str, Any]) -> dict[str, Any]:
    if path != "/v1/chat/completions":
        raise RequestRefusedError(404, f"no such path: {path}", "not_found", None)
    teacher, messages = _teacher(request), _messages(request)
    try:
        message = answer(teacher, messages)
        question = hash_of([teacher.name, messages])
    except EventInvalidError as error:
        raise RequestRefusedError(400, str(error), "invalid_request", "messages") from error
    finish_reason = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": f"chatcmpl-{question[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": teacher.name,
        "choices": [choice],
        "usage": _usage(request, message),
    }


def _teacher(request: dict[str, Any]) -> Teacher:
    name = request.get("model")
    if not isinstance(name, str):
        raise RequestRefusedError(400, "model: expected a name", "invalid_request", "model")
    teacher = teacher_named(name)
    if teacher is None:
        raise RequestRefusedError(404, f"The model `{name}` does not exist", "model_not_found", "model")
    if request.get("stream") or request.get("n", 1) != 1:
        raise RequestRefusedError(400, "stream and n > 1 are not served", "unsupported_parameter", "stream")
    return teacher


def _messages(request: dict[str, Any]) -> list[Message]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRefusedError(400, "messages: expected a non-empty list", "invalid_request", "messages")
    for message in messages:
        if not isinstance(message, dict) or not _calls_are_well_formed(message.get("tool_calls")):
            raise RequestRefusedError(400, "messages: expected chat messages", "invalid_request", "messages")
    return messages


def _calls_are_well_formed(calls: object) -> bool:
    if calls is None:
        return True
    return isinstance(calls, list) and all(
        isinstance(call, dict)
        and isinstance(function := call.get("function"), dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
        for call in calls
    )


def _usage(request: dict[str, Any], message: Message) -> dict[str, int]:
    """Counts of words and punctuation marks, in place of a tokenizer."""
    prompt = len(TOKEN.findall(json.dumps([request.get("tools"), request["messages"]])))
    completion = len(TOKEN.findall(json.dumps(message)))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _error_body(message: str, code: str, parameter: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve tiny teachers over OpenAI's chat completions API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8815)
    options = parser.parse_args()
    with TeacherServer(host=options.host, port=options.port) as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
