"""A graph of messages in which each node names the one before it, as turns of a rollout.

**Only a node that a model sampled is a turn**, and a node that several branches share is one turn. A branch
is a path from a root to a leaf.
**A node has the token ids that it adds to those before it.** The prompt of a turn is what its path has before
the first sampled token; a path on which an earlier turn has no ids has none.
"""

from __future__ import annotations

from typing import NamedTuple

from tracelake.producers.importers.conversion.chat import read_message
from tracelake.producers.importers.conversion.fields import integer, logprobs, sequence, token_ids
from tracelake.producers.importers.conversion.record import Record
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message


class Node(NamedTuple):
    """One message of the graph."""

    index: int
    parent: int | None
    record: Record
    message: Message
    message_record: Record
    is_sampled: bool
    turn_before: int | None
    """The nearest sampled node before it."""
    token_ids: list[int]
    """Those that it adds; empty if the recorder had none."""


class NodeTokens(NamedTuple):
    """Token ids of a sampled node, split at the first token that the model sampled."""

    prompt_ids: list[int] | None
    completion_ids: list[int]
    completion_mask: list[bool] | None
    """Null if all of them were sampled."""
    logprobs: list[float] | None


def read_graph(records: list[Record]) -> list[Node]:
    """The nodes in the order in which they were added. Raises SourceFormatError for a node that does not come
    after its parent."""
    nodes: list[Node] = []
    for index, record in enumerate(records):
        parent = integer(record.take("parent"), f"{record.where}.parent")
        if parent is not None and not 0 <= parent < index:
            raise SourceFormatError(
                "a message that does not come after its parent",
                got=f"node {index} with parent {parent}",
                expected="an earlier node",
            )
        message_record = record.record("message")
        messages = read_message(message_record)
        if len(messages) != 1:
            raise SourceFormatError(
                "a node with blocks of several messages", got=len(messages), expected="one message"
            )
        message = messages[0]
        is_sampled = record.flag("sampled") is True and message["role"] == "assistant"
        before = None if parent is None else nodes[parent]
        turn_before = None if before is None else before.index if before.is_sampled else before.turn_before
        ids = token_ids(record.source.get("token_ids"), f"{record.where}.token_ids") or []
        nodes.append(Node(index, parent, record, message, message_record, is_sampled, turn_before, ids))
    return nodes


def path_to(nodes: list[Node], node: Node, after: int | None = None) -> list[Node]:
    """The nodes before `node`, from its root, or from the node that follows `after`."""
    found: list[Node] = []
    index = node.parent
    while index is not None and index != after:
        found.append(nodes[index])
        index = nodes[index].parent
    found.reverse()
    return found


def tokens_of(nodes: list[Node], node: Node) -> NodeTokens | None:
    """Null if the node has no sampled token. What is used of the path counts as read. Raises
    SourceFormatError for a mask of another length."""
    mask = [item is True for item in sequence(node.record.source.get("mask"), "mask")]
    if not node.token_ids or True not in mask:
        return None
    if len(mask) != len(node.token_ids):
        raise SourceFormatError(
            f"the mask of node {node.index} does not fit its token ids",
            got=f"{len(mask)} entries for {len(node.token_ids)} ids",
            expected="one for each",
        )
    start = mask.index(True)
    sampled_mask = mask[start:]
    path = path_to(nodes, node)
    prompt_ids: list[int] | None = None
    if all(each.token_ids for each in path if each.is_sampled):
        prompt_ids = []
        for each in path:
            prompt_ids += each.token_ids
        prompt_ids += node.token_ids[:start]
        for each in path:
            each.record.has_read("token_ids")
            if not each.is_sampled and True not in (each.record.source.get("mask") or ()):
                each.record.has_read("mask")
        node.record.has_read("token_ids", "mask")
    scores = logprobs(node.record.source.get("logprobs"), "logprobs")
    if scores is not None and len(scores) == len(sampled_mask):
        node.record.has_read("logprobs")
    else:
        scores = None
    completion_mask = None if all(sampled_mask) else sampled_mask
    return NodeTokens(prompt_ids, node.token_ids[start:], completion_mask, scores)


def values_by_node(records: list[tuple[int, Record]], key: str) -> dict[int, list[float]]:
    """A list of numbers that some records have, such as advantages, by the index of the node."""
    found: dict[int, list[float]] = {}
    for index, record in records:
        values = logprobs(record.source.get(key), key)
        if values is not None:
            found[index] = values
        if values is not None or not record.source.get(key):
            record.has_read(key)
    return found
