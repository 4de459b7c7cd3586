"""Choosing the hinted turns and the text of each hint.

A hint is short and local: it names the error just before the turn, not the solution. It exists in the
teacher's context only; the student's token ids never change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from tracelake.consumers.hints.turn_views import RolloutView

Hint = tuple[int, ...]
"""Token ids to insert into the teacher's context."""

ERROR_PATTERN = r"(?im)^.*(?:error|exception|traceback|not found|no such file|permission denied|failed).*$"
"""A line that looks like a failure message of a shell, an interpreter, a compiler or a test runner."""

ERROR_TEMPLATE = "\n[Reminder: the last tool call went wrong: {error}. Correct that before going on.]\n"
"""`{error}` is replaced by the matching line."""


class HintProvider(Protocol):
    """Chooses the hints of one rollout."""

    def hints(self, rollout: RolloutView) -> Sequence[Hint | None]:
        """One entry per turn of `rollout.turns`; None leaves the turn to GRPO alone."""
        ...


class ToolErrorHints:
    """Hints the turns that follow an error message, with the message's last matching line.

    The last, because interpreters print the exception after the trace that leads to it. Each hinted turn
    costs a forward pass of teacher and student, so the number of hints per rollout is limited. The earliest
    win: later errors of a rollout are often consequences of the first.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        error_pattern: str = ERROR_PATTERN,
        template: str = ERROR_TEMPLATE,
        excerpt_length_max: int = 200,
        hints_per_rollout_max: int = 4,
    ) -> None:
        self._tokenizer = tokenizer
        self._pattern = re.compile(error_pattern)
        self._template = template
        self._excerpt_length_max = excerpt_length_max
        self._hints_per_rollout_max = hints_per_rollout_max

    def hints(self, rollout: RolloutView) -> list[Hint | None]:
        """One entry per turn."""
        chosen: list[Hint | None] = []
        given = 0
        for turn in rollout.turns:
            excerpt = self._excerpt(turn.preceding_tool_text)
            hint = self._encode(excerpt) if excerpt and given < self._hints_per_rollout_max else None
            given += hint is not None
            chosen.append(hint)
        return chosen

    def _excerpt(self, tool_text: str) -> str | None:
        matches = list(self._pattern.finditer(tool_text))
        return matches[-1].group(0).strip()[: self._excerpt_length_max] if matches else None

    def _encode(self, excerpt: str) -> Hint | None:
        # `format` would interpret braces in the tool's text.
        text = self._template.replace("{error}", excerpt)
        token_ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(token_ids) or None


def generation_prompt_ids(tokenizer: Any, chat_template: str | None, template_kwargs: dict[str, Any]) -> Hint:
    """Token ids with which the chat template opens the assistant's message; empty without a template.

    A context usually ends with them. A hint goes before them: into the conversation, not into the policy's
    own message.
    """
    if not (chat_template or getattr(tokenizer, "chat_template", None)):
        return ()
    messages = [{"role": "user", "content": "x"}]
    render = {"tokenize": False, "chat_template": chat_template, **template_kwargs}
    closed = tokenizer.apply_chat_template(messages, add_generation_prompt=False, **render)
    opened = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **render)
    return tuple(tokenizer(opened.removeprefix(closed), add_special_tokens=False)["input_ids"])
