"""The number of prompt tokens of a request, without the provider's tokenizer: a bound, and an estimate.

**The bound is hard for text**: a token of a byte-level tokenizer is at least one byte, and no chat template
writes a message in more bytes than its escaped JSON. A margin covers the provider's own instructions.
**Content without a bound is refused**: the tokens of images, files and provider-run tools are not in the
request.
**The estimate is calibrated on recorded calls** of one tokenizer (DeepSeek's, 10,551 calls of coding agents);
its interval is wide enough for other tokenizers.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from tracelake.schemas.errors import BadInputError

# Recorded prompts are up to 679 tokens longer than the request: providers add their own instructions.
UNSEEN_TOKEN_MAX = 1024
MESSAGE_TOKEN_MAX = 8
# Templates indent tool definitions, or write them as declarations in another language.
TOOLS_FACTOR_MAX = 2
TEXT_PARTS = ("text", "input_text", "output_text", "refusal", "thinking", "reasoning")

# Tokens per unit: least squares over the growth of recorded prompts from call to call, rounded.
PER_LETTER = 0.14
PER_WORD = 0.42
PER_DIGIT = 0.8
PER_PUNCTUATION_RUN = 0.86
PER_BREAK = 0.65
PER_NON_ASCII = 1.5
PER_MESSAGE = 5
PER_CALL = 40
# Instructions of the provider on how to call tools.
TOOLS_EXPECTED = 300
# For other tokenizers and other instructions.
LOW_FACTOR = 0.7
TOOLS_LOW_FACTOR = 0.4
HIGH_FACTOR = 1.6

_LETTERS = bytes(code if chr(code).isascii() and chr(code).isalpha() else 32 for code in range(256))
_PUNCTUATION = bytes(code if 33 <= code < 127 and not chr(code).isalnum() else 32 for code in range(256))
_DIGITS = b"0123456789"
_NON_ASCII = bytes(range(128, 256))
_BREAK = re.compile(rb"[ \t]*[\r\n]\s*|[ \t]{2,}")
# Text under these keys belongs to the protocol, not to the prompt.
_PROTOCOL_KEYS = frozenset({"role", "type", "id", "tool_call_id", "cache_control"})


class Estimate(NamedTuple):
    """A count, or a sum of counts: each of the three may be summed on its own."""

    expected: float
    low: float
    high: float

    def plus(self, other: Estimate) -> Estimate:
        return Estimate(*(one + more for one, more in zip(self, other, strict=True)))


def estimate(body: Mapping[str, Any]) -> Estimate:
    messages = _list(body.get("messages"))
    tools = _list(body.get("tools"))
    calls = sum(len(_list(message.get("tool_calls"))) for message in messages if isinstance(message, Mapping))
    texts = sum(map(_message_tokens, messages))
    declared = sum(text_tokens(_json(tool).decode("utf-8", "surrogatepass")) for tool in tools)
    in_request = texts + declared + PER_MESSAGE * len(messages) + PER_CALL * calls
    unseen = TOOLS_EXPECTED if tools or calls else 0
    low = max(1, math.floor(LOW_FACTOR * (texts + TOOLS_LOW_FACTOR * declared)))
    high = math.ceil(HIGH_FACTOR * in_request) + UNSEEN_TOKEN_MAX
    return Estimate(max(1, round(in_request + unseen)), low, high)


def prompt_token_max(body: Mapping[str, Any]) -> int:
    """Upper bound on the request's prompt tokens.

    Raises BadInputError for content other than text, and for tools that the provider runs.
    """
    messages, tools = _list(body.get("messages")), _list(body.get("tools"))
    _refuse_unbounded(messages, tools)
    in_request = _byte_max(messages) + TOOLS_FACTOR_MAX * _byte_max(tools)
    return in_request + MESSAGE_TOKEN_MAX * len(messages) + UNSEEN_TOKEN_MAX


@lru_cache(maxsize=4096)
def text_tokens(text: str) -> float:
    """Expected tokens of one text. Cached, because the contexts of a trace share their messages."""
    data = text.encode("utf-8", "surrogatepass")
    letters_alone = data.translate(_LETTERS)
    ascii_count = len(data) if text.isascii() else len(data.translate(None, _NON_ASCII))
    return (
        PER_LETTER * (len(data) - letters_alone.count(b" "))
        + PER_WORD * len(letters_alone.split())
        + PER_DIGIT * (len(data) - len(data.translate(None, _DIGITS)))
        + PER_PUNCTUATION_RUN * len(data.translate(_PUNCTUATION).split())
        + PER_BREAK * len(_BREAK.findall(data))
        + PER_NON_ASCII * (len(text) - ascii_count)
    )


def _message_tokens(value: Any) -> float:
    """Expected tokens of all text in a message."""
    if isinstance(value, str):
        return text_tokens(value)
    if isinstance(value, dict):
        return sum(_message_tokens(part) for key, part in value.items() if key not in _PROTOCOL_KEYS)
    if isinstance(value, list):
        return sum(map(_message_tokens, value))
    return 0.0


def _byte_max(value: Any) -> int:
    """Bytes of a value's JSON in the longest form that a template may use."""
    data = _json(value)
    # Escaped, a character beyond ASCII takes at most three times its bytes.
    beyond = len(data) - len(data.translate(None, _NON_ASCII))
    if not beyond:
        return len(data)
    # Some tokenizers normalize compatibility characters first: one can become eighteen.
    unfolded = unicodedata.normalize("NFKC", data.decode("utf-8", "surrogatepass"))
    return max(len(data) + 2 * beyond, len(unfolded.encode("utf-8", "surrogatepass")))


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # Half a surrogate pair, an integer of more than 64 bits.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _refuse_unbounded(messages: list[Any], tools: list[Any]) -> None:
    for message in messages:
        for part in _list(message.get("content") if isinstance(message, Mapping) else None):
            if not isinstance(part, Mapping) or part.get("type") not in TEXT_PARTS:
                raise _unbounded("content", part)
    for tool in tools:
        if not isinstance(tool, Mapping) or tool.get("type") != "function":
            raise _unbounded("a tool", tool)


def _unbounded(what: str, value: Any) -> BadInputError:
    kind = value.get("type") if isinstance(value, Mapping) else type(value).__name__
    return BadInputError(
        f"{what} of a request has no bound in tokens",
        got=str(kind),
        expected="text, and functions as tools",
        cure="Leave the turn out of the replay.",
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
