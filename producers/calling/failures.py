"""The classes of failure of a call, and the reaction to each.

Flow: status, headers and error body of an answer → `FailureClass` → `Reaction`.

**Only answers that name a limit shrink concurrency**: a broken endpoint is not a busy one.
**A call counts as unbilled only if that is certain**: `billed` is `no` only for failures that no provider
charges for, or if the request never left this machine.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, cast


class FailureClass(StrEnum):
    """The values of `TeacherFailed.failure`."""

    RATE_LIMITED = "rate_limited"
    IN_FLIGHT_BUDGET = "in_flight_budget"
    """The router reserves credit for calls in flight; it becomes free by itself."""
    OUT_OF_CREDIT = "out_of_credit"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    ERROR_IN_BODY = "error_in_body"
    """Status 200, and an error in place of the answer."""
    ERROR_IN_STREAM = "error_in_stream"
    EMPTY_CHOICES = "empty_choices"
    """No choice, or an empty one."""
    REFUSAL = "refusal"
    """A refusal without any content; with content it is an answer."""
    MODERATION = "moderation"
    """A filter stopped the question or cut the answer."""
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    MALFORMED_ANSWER = "malformed_answer"
    MALFORMED_TOOL_CALL = "malformed_tool_call"
    TRUNCATED_STREAM = "truncated_stream"
    OVERSIZED_BODY = "oversized_body"
    MODEL_MISMATCH = "model_mismatch"
    """Another model answered than the requested one: `tracelake.producers.calling.validate_answer`."""
    REDIRECTED = "redirected"
    """The endpoint redirected; redirects are not followed."""


Billed = Literal["no", "maybe", "yes"]


class Reaction(NamedTuple):
    """The reaction to a failure."""

    retry: bool
    shrink: bool
    """Fewer calls at a time."""
    stop_run: bool
    """Every later call to this teacher would fail in the same way, until a person acts."""
    wait_s: float | None
    """The wait that the endpoint asked for, unbounded; null if it named none."""
    billed: Billed


_F = FailureClass
_REACTIONS: dict[FailureClass, Reaction] = {
    _F.RATE_LIMITED: Reaction(True, True, False, None, "no"),
    _F.IN_FLIGHT_BUDGET: Reaction(True, True, False, None, "no"),
    _F.OUT_OF_CREDIT: Reaction(False, False, True, None, "no"),
    _F.TIMEOUT: Reaction(True, False, False, None, "maybe"),
    _F.SERVER_ERROR: Reaction(True, False, False, None, "maybe"),
    _F.CONNECTION: Reaction(True, False, False, None, "maybe"),
    _F.ERROR_IN_BODY: Reaction(True, False, False, None, "maybe"),
    _F.ERROR_IN_STREAM: Reaction(True, False, False, None, "maybe"),
    _F.EMPTY_CHOICES: Reaction(True, False, False, None, "maybe"),
    _F.REFUSAL: Reaction(False, False, False, None, "yes"),
    _F.MODERATION: Reaction(False, False, False, None, "maybe"),
    _F.BAD_REQUEST: Reaction(False, False, False, None, "no"),
    _F.UNAUTHORIZED: Reaction(False, False, True, None, "no"),
    _F.NOT_FOUND: Reaction(False, False, True, None, "no"),
    _F.MALFORMED_ANSWER: Reaction(True, False, False, None, "maybe"),
    _F.MALFORMED_TOOL_CALL: Reaction(False, False, False, None, "yes"),
    _F.TRUNCATED_STREAM: Reaction(True, False, False, None, "maybe"),
    _F.OVERSIZED_BODY: Reaction(False, False, False, None, "maybe"),
    _F.MODEL_MISMATCH: Reaction(False, False, False, None, "yes"),
    _F.REDIRECTED: Reaction(False, False, False, None, "no"),
}
# "No provider is available" and "overloaded": nothing was computed.
_UNAVAILABLE = (503, 529)
_GATEWAY_TIMEOUTS = (408, 504, 524)
_MODERATION = re.compile(r"moderation|content.?policy|content.?filter|flagged|safety")
_CREDIT = re.compile(r"budget|credit|quota|spend|limit exceeded|billing")


def reaction(
    failure: FailureClass,
    *,
    http_status: int | None = None,
    sent: bool = True,
    retry_after_s: float | None = None,
) -> Reaction:
    """The reaction to one failure; `sent` is False if nothing of the request left this machine."""
    base = _REACTIONS[failure]
    unpaid = not sent or (failure is FailureClass.SERVER_ERROR and http_status in _UNAVAILABLE)
    return base._replace(wait_s=retry_after_s, billed="no" if unpaid else base.billed)


def class_of_status(status: int, error: object, retry_after_s: float | None) -> FailureClass:
    """The class of an HTTP error status, with the `error` object of its body, if any."""
    if 300 <= status < 400:
        return FailureClass.REDIRECTED
    if status in _GATEWAY_TIMEOUTS:
        return FailureClass.TIMEOUT
    if status >= 500:
        return FailureClass.SERVER_ERROR
    if status < 400:
        return FailureClass.MALFORMED_ANSWER
    return _class_of_refusal(status, _fields(error), retry_after_s)


def class_of_embedded(error: object, *, in_stream: bool, had_content: bool) -> FailureClass:
    """The class of an error inside an answer of status 200.

    An error that names a limit or a key counts as that status, unless text came before it: then something was
    computed, and may be billed.
    """
    fields = _fields(error)
    code = fields.get("code")
    status = int(code) if isinstance(code, (int, str)) and str(code).isdecimal() and len(str(code)) < 4 else 0
    if not had_content:
        if code in ("insufficient_quota", "rate_limit_exceeded"):
            status = 429
        if status in (401, 402, 403, 429):
            return _class_of_refusal(status, fields, None)
    return FailureClass.ERROR_IN_STREAM if in_stream else FailureClass.ERROR_IN_BODY


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait according to the headers; 0 for a time in the past, null if they name none."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(milliseconds / 1000, 0.0)
    retry_after = headers.get("retry-after")
    seconds = _number(retry_after)
    if seconds is None and retry_after:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return None if seconds is None else max(seconds, 0.0)


def _class_of_refusal(status: int, error: Mapping[str, Any], retry_after_s: float | None) -> FailureClass:
    kind = _kind(error)
    if status == 402:
        frees_itself = retry_after_s is not None or "in_flight" in str(_metadata(error).get("limit_source"))
        return FailureClass.IN_FLIGHT_BUDGET if frees_itself else FailureClass.OUT_OF_CREDIT
    if status == 429:
        return FailureClass.OUT_OF_CREDIT if "insufficient_quota" in kind else FailureClass.RATE_LIMITED
    if status == 401:
        return FailureClass.UNAUTHORIZED
    if status == 403:
        return _class_of_403(error, kind)
    if status in (404, 405, 410):
        return FailureClass.NOT_FOUND
    if "tool_use_failed" in kind:
        # The model wrote a call that the endpoint could not parse, and the endpoint reports it by a 400.
        return FailureClass.MALFORMED_TOOL_CALL
    return FailureClass.MODERATION if _MODERATION.search(kind) else FailureClass.BAD_REQUEST


def _class_of_403(error: Mapping[str, Any], kind: str) -> FailureClass:
    message, metadata = str(error.get("message"))[:2000].lower(), _metadata(error)
    if "reasons" in metadata or "flagged_input" in metadata or _MODERATION.search(f"{kind} {message}"):
        return FailureClass.MODERATION
    return FailureClass.OUT_OF_CREDIT if _CREDIT.search(f"{kind} {message}") else FailureClass.UNAUTHORIZED


def _fields(error: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": error}


def _metadata(error: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = error.get("metadata")
    return cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}


def _kind(error: Mapping[str, Any]) -> str:
    """The names that the error gives itself: never its free text, which may quote the question."""
    named = (error.get("code"), error.get("type"), _metadata(error).get("error_type"))
    return " ".join(str(name)[:200].lower() for name in named)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
