"""A server that speaks OpenAI's protocol over real HTTP on 127.0.0.1: chat completions and Responses, whole
and as event streams, with usage, logprobs and vLLM's token ids.

**The last message decides the answer**: `call NAME` calls a tool, a question calls the first tool offered,
`think` reasons before it answers, `fail N` answers with the status N, `cut` ends the connection in the middle
of a stream, anything else is echoed.
**Its tokenizer is bytes**: a prompt is the beginning of the next one, as with a real engine.

As a command, in its own process: `python -m tests.producers.recording.openai_server`.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

CONTENT_PIECE = 5
"""Characters of a streamed piece."""
MODEL = "echo-1"
SERVED = "echo-1-2026-11-30"


class OpenAiServer:
    """A running server; a context manager."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.requests = self.requests
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    requests: list[dict[str, Any]]
    numbers = itertools.count()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        said = last_said(request)
        if said.startswith("fail "):
            status = int(said.split()[1])
            return self._send(status, {"error": {"message": f"the server says {status}", "code": "planned"}})
        number = next(self.server.numbers)
        make = completion if self.path == "/v1/chat/completions" else response
        if not request.get("stream"):
            return self._send(200, make(request, number))
        chunks = completion_chunks if make is completion else response_events
        return self._stream(chunks(request, number), cut=said == "cut")

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[dict[str, Any]], *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if cut and number == 2:
                self.close_connection = True
                return
            name = f"event: {event['type']}\n" if "type" in event else ""
            self._write(f"{name}data: {json.dumps(event)}\n\n")
        self._write("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _write(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def last_said(request: dict[str, Any]) -> str:
    items = request.get("messages") or request.get("input") or ""
    if isinstance(items, str):
        return items
    content = items[-1].get("content") or items[-1].get("output") or ""
    return content if isinstance(content, str) else json.dumps(content)


def reply(request: dict[str, Any], number: int) -> dict[str, Any]:
    """The assistant message."""
    said = last_said(request)
    tools = request.get("tools")
    if said.endswith("?") and tools:
        said = f"call {tools[0].get('function', tools[0])['name']}"
    if said.startswith("call "):
        function = {"name": said.split()[1], "arguments": json.dumps({"number": number})}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    message = {"role": "assistant", "content": f"echo: {said}", "refusal": None}
    if said == "think":
        message["reasoning_content"] = "what was it again"
    return message


def tokens_of(messages: list[dict[str, Any]]) -> list[int]:
    """The prompt of these messages, up to where an assistant's text begins."""
    ids: list[int] = []
    for message in [*messages, {"role": "assistant"}]:
        ids += [1, *str(message["role"]).encode(), 2]
        if "content" in message:
            ids += [*said_bytes(message), 0]
    return ids


def said_bytes(message: dict[str, Any]) -> bytes:
    return (message.get("content") or json.dumps(message.get("tool_calls"), sort_keys=True)).encode()


def usage(request: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    # Cheap to count: a benchmark waits for this server.
    prompt = len(json.dumps(request.get("messages") or [])) // 4
    return {
        "prompt_tokens": prompt,
        "completion_tokens": len(said_bytes(message)) + 1,
        "total_tokens": prompt + len(said_bytes(message)) + 1,
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
        "completion_tokens_details": {"reasoning_tokens": 4 if "reasoning_content" in message else 0},
    }


def completion(request: dict[str, Any], number: int) -> dict[str, Any]:
    message = reply(request, number)
    choices = [choice_of(request, message, index) for index in range(request.get("n") or 1)]
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000 + number,
        "model": SERVED,
        "system_fingerprint": "fp_echo",
        "choices": choices,
        "usage": usage(request, message),
    }
    if request.get("return_token_ids"):
        body["prompt_token_ids"] = tokens_of(request["messages"])
    return body


def choice_of(request: dict[str, Any], message: dict[str, Any], index: int) -> dict[str, Any]:
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    if index:
        message = {**message, "content": f"{message['content']} ({index})"}
    choice = {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
    ids = [*said_bytes(message), 0]
    if request.get("return_token_ids"):
        choice["token_ids"] = ids
    if request.get("logprobs"):
        items = [
            {"token": chr(each), "bytes": [each], "logprob": -each / 256, "top_logprobs": []} for each in ids
        ]
        choice["logprobs"] = {"content": items, "refusal": None}
    return choice


def completion_chunks(request: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    whole = completion(request, number)
    shared = {key: whole[key] for key in ("id", "created", "model", "system_fingerprint")}
    shared["object"] = "chat.completion.chunk"
    for choice in whole["choices"]:
        for number, (delta, facts) in enumerate(deltas_of(choice)):
            piece = {"index": choice["index"], "delta": delta, "finish_reason": None, **facts}
            first = {"prompt_token_ids": whole.get("prompt_token_ids")} if number == 0 else {}
            yield {**shared, "choices": [piece], **{key: value for key, value in first.items() if value}}
        end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        yield {**shared, "choices": [end]}
    if (request.get("stream_options") or {}).get("include_usage"):
        yield {**shared, "choices": [], "usage": whole["usage"]}


def deltas_of(choice: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    message, ids = choice["message"], list(choice.get("token_ids") or [])
    items = list((choice.get("logprobs") or {}).get("content") or [])
    yield {"role": "assistant", "content": ""}, {}
    if thought := message.get("reasoning_content"):
        yield {"reasoning_content": thought[:4]}, {}
        yield {"reasoning_content": thought[4:]}, {}
    for index, call in enumerate(message.get("tool_calls") or []):
        arguments = call["function"]["arguments"]
        begin = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
        yield {"tool_calls": [begin]}, {}
        for start in range(0, len(arguments), CONTENT_PIECE):
            text = arguments[start : start + CONTENT_PIECE]
            yield {"tool_calls": [{"index": index, "function": {"arguments": text}}]}, {}
    text = message.get("content") or ""
    for start in range(0, len(text), CONTENT_PIECE):
        yield {"content": text[start : start + CONTENT_PIECE]}, {}
    facts: dict[str, Any] = {}
    if ids:
        facts["token_ids"] = ids
    if items:
        facts["logprobs"] = {"content": items, "refusal": None}
    if facts:
        yield {}, facts


def response(request: dict[str, Any], number: int) -> dict[str, Any]:
    message = reply(request, number)
    output: list[dict[str, Any]] = []
    if thought := message.get("reasoning_content"):
        summary = [{"type": "summary_text", "text": thought}]
        output.append({"type": "reasoning", "id": f"rs_{number}", "summary": summary})
    if message["content"] is not None:
        part = {"type": "output_text", "text": message["content"], "annotations": []}
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
        output.append({**item, "content": [part]})
    for call in message.get("tool_calls") or []:
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": call["id"], "status": "completed"}
        output.append({**item, **call["function"]})
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000 + number,
        "model": SERVED,
        "status": "completed",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "usage": {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 3},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 18,
        },
    }


def response_events(request: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    whole = response(request, number)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "sequence_number": 0, "response": begun}
    for index, item in enumerate(whole["output"]):
        facts = {"output_index": index, "sequence_number": index + 1, "item": item}
        yield {"type": "response.output_item.done", **facts}
    last = len(whole["output"]) + 1
    yield {"type": "response.completed", "sequence_number": last, "response": whole}


def main() -> None:
    with OpenAiServer() as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
