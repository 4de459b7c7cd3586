"""The small policies' tokenizer and chat template, and the parser of sampled ids.

Flow: texts of a world → vocabulary of its words → PreTrainedTokenizerFast; messages → template → ids →
policy → ids → message.

**Any ASCII text survives a round trip**: the vocabulary has every ASCII character and the world's words.
**Rendering is prefix-preserving**: every message begins and ends with a special token, and no piece crosses
one, so the ids of a longer context start with the ids of the shorter one.
**The fit is deterministic**: same texts, same vocabulary, same ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from tracelake.schemas.environment import ToolDefinition
from tracelake.schemas.message import Message

PAD, UNKNOWN, END, TOOLS, CALL = "<|pad|>", "<|unknown|>", "<|end|>", "<|tools|>", "<|call|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
ASSISTANT = ROLES[2]
SPECIAL_TOKENS = (PAD, UNKNOWN, END, TOOLS, CALL, *ROLES)
# Keys of compact JSON and line numbers are one piece each, which makes rollouts a third shorter. Then words
# and operators, each with the space before it; digits stand alone, so that numbers need no vocabulary.
PIECES = r'\{\}|[{,]"[A-Za-z_]+":"?|"\}|\n[0-9]\t *| ?[A-Za-z_]+| ?[0-9]| ?[-+*/%<>=!]+| {2,}|\n|.'
PIECE_CHARACTERS_MAX = 100_000
CHAT_TEMPLATE = (
    "{% if tools %}<|tools|>{% for tool in tools %} {{ tool.function.name }}{% endfor %}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<|call|>{{ call.function.name }}"
    "{% if call.function.arguments is string %}{{ call.function.arguments }}"
    "{% else %}{{ call.function.arguments | tojson(separators=(',', ':')) }}{% endif %}"
    "{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL_TEXT = re.compile(r"([A-Za-z_]\w*)?(.*)", re.DOTALL)


def fit_tokenizer(texts: Iterable[str], *, piece_count_min: int = 3) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are those that occur at least `piece_count_min` times in the texts."""
    counts = Counter(piece for text in texts for piece, _ in _splitter().pre_tokenize_str(text))
    words = sorted(
        piece
        for piece, count in counts.items()
        if count >= piece_count_min and len(piece) > 1 and piece.isascii()
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer_of(words),
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _splitter() -> pre_tokenizers.Split:
    return pre_tokenizers.Split(Regex(PIECES), behavior="isolated")


def _tokenizer_of(words: Sequence[str]) -> Tokenizer:
    """Ids in the order special tokens, ASCII characters, words; other pieces are split greedily."""
    characters = [chr(code) for code in range(128)]
    vocabulary = {piece: index for index, piece in enumerate((*SPECIAL_TOKENS, *characters, *words))}
    model = WordPiece(
        vocabulary,
        unk_token=UNKNOWN,
        continuing_subword_prefix="",
        max_input_chars_per_word=PIECE_CHARACTERS_MAX,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def render(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Message],
    tools: Sequence[ToolDefinition],
    *,
    answer_next: bool,
) -> str:
    """Template text of a context; with `answer_next` it ends with the assistant's opening."""
    text = tokenizer.apply_chat_template(
        list(messages), tools=list(tools), tokenize=False, add_generation_prompt=answer_next
    )
    return str(text)


def piece_id(tokenizer: PreTrainedTokenizerFast, piece: str) -> int:
    return cast("int", tokenizer.convert_tokens_to_ids(piece))


def text_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def context_ids(
    tokenizer: PreTrainedTokenizerFast,
    messages: Sequence[Message],
    tools: Sequence[ToolDefinition],
    prefix_ids: Sequence[int] | None = None,
) -> list[int]:
    """Ids of a context up to where the assistant begins.

    prefix_ids: ids up to and including the last assistant message, as really sent and sampled. They are not
    tokenised again: the tokenizer may choose other ids for the same text.
    """
    if prefix_ids is None:
        return text_ids(tokenizer, render(tokenizer, messages, tools, answer_next=True))
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    return [*prefix_ids, *text_ids(tokenizer, render(tokenizer, messages[last + 1 :], (), answer_next=True))]


def completion_message(
    tokenizer: PreTrainedTokenizerFast, completion_ids: Sequence[int], *, call_id_prefix: str
) -> Message:
    """The assistant message of sampled ids, well-formed or not: arguments are the text as written.

    A call without a name gets the name ''. A sampled end id is not part of the text.
    """
    end_id, call_token_id = piece_id(tokenizer, END), piece_id(tokenizer, CALL)
    parts: list[list[int]] = [[]]
    for token_id in completion_ids:
        if token_id == call_token_id:
            parts.append([])
        elif token_id != end_id:
            parts[-1].append(token_id)
    content, *calls = (str(tokenizer.decode(part, skip_special_tokens=False)) for part in parts)
    message: Message = {"role": "assistant", "content": content or None}
    if calls:
        message["tool_calls"] = [
            _tool_call(text, f"{call_id_prefix}_{index}") for index, text in enumerate(calls)
        ]
    return message


def assistant_mask(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[bool]:
    """True on the assistant's own tokens, end ids included."""
    assistant_id, end_id = piece_id(tokenizer, ASSISTANT), piece_id(tokenizer, END)
    mask: list[bool] = []
    inside = False
    for token_id in ids:
        mask.append(inside)
        inside = token_id == assistant_id or (inside and token_id != end_id)
    return mask


def _tool_call(text: str, call_id: str) -> dict[str, object]:
    match = CALL_TEXT.fullmatch(text)
    name, arguments = (match[1] or "", match[2]) if match else ("", text)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
