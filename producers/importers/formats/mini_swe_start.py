"""Who a mini-swe-agent rollout is: its identity, task and configuration.

**The identity is that of its first model call**, which the provider named: a copy of the file elsewhere is
the same rollout. Only where calls have no names does the path stand in.
**Nothing of the path enters the facts**, or a copy would contradict its original; the name of the run is in
the origin of the events.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracelake.producers.importers.fields import label, mapping, number, sequence, text, without_secrets
from tracelake.producers.importers.source import HandedIn, Opened, SourceFile, rollout_id_of
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import RolloutStarted
from tracelake.schemas.message import Message, content_text

FORMAT = "mini-swe-agent"


class Trajectory(NamedTuple):
    """One file, taken apart."""

    source: SourceFile
    info: dict[str, Any]
    config: dict[str, Any]
    instance_id: str | None
    model_requested: str | None
    messages: list[Message]
    last_turn: int
    """Place of the last model call among the messages: what follows it, no call has seen."""
    rollout_id: str


def trajectory_of(opened: Opened) -> Trajectory:
    """Raises SourceFormatError if there is no model call, or a field is of a wrong type."""
    whole = opened.document if isinstance(opened.document, dict) else {"messages": opened.document}
    info = mapping(whole.get("info"), "info")
    config = mapping(info.get("config"), "info.config")
    found = sequence(whole.get("messages"), "messages")
    messages = [mapping(message, "messages") for message in found]
    instance_id = label(whole.get("instance_id"), "instance_id")
    first = next((message for message in messages if is_reply(message)), None)
    if first is None:
        raise SourceFormatError(
            "a trajectory without a model call", expected="one assistant message at least"
        )
    identity = _identity(opened.source, instance_id, first)
    return Trajectory(
        opened.source,
        info,
        config,
        instance_id,
        text(_model(config).get("model_name"), "model_name"),
        messages,
        next(place for place in range(len(messages) - 1, -1, -1) if is_reply(messages[place])),
        rollout_id_of("mini", instance_id, identity),
    )


def is_reply(message: Message) -> bool:
    """A model call: its message, or the complaint that keeps a dropped reply."""
    if message.get("role") == "assistant" or message.get("object") == "response":
        return True
    return message.get("role") == "user" and bool(mapping(message.get("extra"), "extra").get("response"))


def rollout_started(trajectory: Trajectory) -> RolloutStarted:
    config = trajectory.config
    sampling = mapping(_model(config).get("model_kwargs"), "model_kwargs")
    image = mapping(config.get("environment"), "environment").get("image")
    swebench = "swebench" in f"{config.get('agent_type')} {image}".lower()
    environment = "swebench" if swebench else FORMAT
    return RolloutStarted(
        rollout_id=trajectory.rollout_id,
        task_key=trajectory.instance_id or f"{environment}:{hash_of(_question(trajectory.messages))[:16]}",
        environment=environment,
        substrate=FORMAT,
        substrate_version=text(trajectory.info.get("mini_version"), "mini_version"),
        model_requested=trajectory.model_requested,
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        config_json=canonical_text(without_secrets(config)) if config else None,
    )


def handed_in(trajectory: Trajectory, submission: str | None) -> HandedIn | None:
    """For a file where the batch mode put it: ROOT/output/RUN/INSTANCE/INSTANCE.traj.json; else null."""
    parts, instance_id = trajectory.source.parts, trajectory.instance_id
    if not submission or instance_id is None or len(parts) < 3 or parts[-2] != instance_id:
        return None
    return HandedIn(trajectory.rollout_id, instance_id, "/".join(parts[:-4]), parts[-3], submission)


def _identity(source: SourceFile, instance_id: str | None, first: Message) -> list[Any]:
    """Of the first call, which an unfinished run has too."""
    extra = mapping(first.get("extra"), "extra")
    response = mapping(extra.get("response") or first, "response")
    named = text(response.get("id"), "response.id")
    since = number(extra.get("timestamp"), "timestamp")
    return [source.name] if named is None and since is None else [instance_id, named, since]


def _model(config: dict[str, Any]) -> dict[str, Any]:
    return mapping(config.get("model"), "info.config.model")


def _question(messages: list[Message]) -> str:
    asked = (message for message in messages if message.get("role") == "user")
    return content_text(next(asked, {}).get("content"))
