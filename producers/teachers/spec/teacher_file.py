"""`teachers.toml`: who may be asked, how, through which providers, within which limits, at which price.

**A teacher is frozen, or it is refused.** A name that says it moves (`~…`, `latest`, a router's choice, a
variant that picks providers by the hour) is refused everywhere. Any other is frozen if it is dated, or has
a `revision`, or is served on this machine.
**A key never stands in the file**: `api_key_env` is the name of an environment variable. No error quotes
what may be a key.
**Unknown keys are refused**, as in experiment files.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from tracelake.producers.teachers.spec.frozen_name import (
    endpoint_of,
    is_dated,
    moving_part,
    without_local_port,
)
from tracelake.producers.teachers.spec.teacher_parts import Limits, Part, PriceSource, Routing, Sampling
from tracelake.schemas.errors import BadInputError, SourceMissingError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MODEL = r"^[!-~]{1,256}$"
ENVIRONMENT_VARIABLE = r"^[A-Z_][A-Z0-9_]{0,63}$"
ROUTER_HOST = "openrouter.ai"


class TeacherSpec(Part):
    """One frozen teacher."""

    name: str = Field(pattern=NAME)
    """A label: two teachers of one model, revision and endpoint are one teacher."""
    base_url: str
    """Of an OpenAI-compatible endpoint, such as `https://openrouter.ai/api/v1`."""
    model: str = Field(pattern=MODEL)
    revision: str | None = Field(default=None, min_length=1, max_length=128)
    """What freezes a model whose name has no date: a release, a weights hash."""
    api_key_env: str | None = Field(default=None, pattern=ENVIRONMENT_VARIABLE)
    """Name of the environment variable that holds the key."""
    sampling: Sampling = Sampling()
    routing: Routing = Field(default=Routing(), validate_default=True)
    limits: Limits = Limits()
    price: PriceSource = Field(
        default_factory=lambda fields: "free" if _is_local(fields) else "genai-prices", validate_default=True
    )
    """`genai-prices` (of the provider with this endpoint, or `genai-prices:PROVIDER`), `litellm:PATH`
    (relative to the file), a table, or `free`; not set: `free` on this machine, else `genai-prices`."""
    price_model: str | None = Field(default=None, pattern=MODEL)
    """The model's name in the price list, where it is another."""
    tier: int = Field(default=0, ge=0)
    """Lower tiers are asked first."""
    cache_markers: bool | None = None
    """Whether prompts carry Anthropic's `cache_control`; not set: for models of `anthropic/`."""

    def identity(self) -> dict[str, Any]:
        """What of a teacher enters the key of a request.

        A port of this machine is no part of it: a server that comes back on another one is the same teacher.
        """
        return {"model": self.model, "revision": self.revision, "base_url": without_local_port(self.base_url)}

    @property
    def marks_cache(self) -> bool:
        marked = self.cache_markers
        return self.model.startswith("anthropic/") if marked is None else marked

    @field_validator("base_url")
    @classmethod
    def _one_spelling(cls, base_url: str) -> str:
        endpoint_of(base_url)
        return base_url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        # Keys of upper-case letters and digits alone exist; names of that length without a break do not.
        if name is not None and len(name) >= 16 and "_" not in name:
            raise ValueError("looks like a key; give the name of the environment variable that holds it")
        return name

    @field_validator("routing")
    @classmethod
    def _routing_decided(cls, routing: Routing, info: Any) -> Routing:
        if routing.enabled is not None or "base_url" not in info.data:
            return routing
        host = endpoint_of(info.data["base_url"]).host
        return routing.model_copy(update={"enabled": host == ROUTER_HOST or host.endswith("." + ROUTER_HOST)})

    @model_validator(mode="after")
    def _frozen(self) -> Self:
        moving = moving_part(self.model)
        if moving is not None:
            raise ValueError(f"model {self.model!r} moves ({moving}); name a dated release")
        if not (is_dated(self.model) or self.revision or endpoint_of(self.base_url).is_local):
            raise ValueError(f"model {self.model!r} is not frozen; name a dated release, or give a revision")
        return self

    @model_validator(mode="after")
    def _key_stays_covered(self) -> Self:
        endpoint = endpoint_of(self.base_url)
        if self.api_key_env is not None and endpoint.is_plain and not endpoint.is_private:
            raise ValueError("a key would cross the net in the open; use https")
        return self


class TeacherFile(Part):
    teachers: tuple[TeacherSpec, ...] = Field(min_length=1, strict=False)

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [teacher.name for teacher in self.teachers]
        if len(set(names)) != len(names):
            raise ValueError("two teachers share a name")
        return self


def read_teacher_file(path: Path) -> TeacherFile:
    """Paths of price lists become absolute. Raises SourceMissingError, BadInputError naming the key."""
    if not path.is_file():
        raise SourceMissingError("no teacher file", got=str(path), expected="a TOML file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path.name} is not TOML", got=str(error), expected="UTF-8") from error
    file = parse_teacher_file(text, name=path.name)
    return TeacherFile(teachers=tuple(_beside(teacher, path.parent) for teacher in file.teachers))


def parse_teacher_file(text: str, *, name: str) -> TeacherFile:
    """Raises BadInputError naming the key."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{name} is not TOML", got=str(error), expected="a TOML file") from error
    try:
        return TeacherFile.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInputError(
            f"{name} breaks the contract at {_place(first['loc'])}",
            got=_quoted(first),
            expected=first["msg"].removeprefix("Value error, "),
            cure="docs/teachers.md lists every key.",
        ) from None


def _beside(teacher: TeacherSpec, folder: Path) -> TeacherSpec:
    if not isinstance(teacher.price, str) or not teacher.price.startswith("litellm:"):
        return teacher
    path = (folder / teacher.price.removeprefix("litellm:")).resolve()
    return teacher.model_copy(update={"price": f"litellm:{path}"})


def _is_local(fields: dict[str, Any]) -> bool:
    return "base_url" in fields and endpoint_of(fields["base_url"]).is_local


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "its top"


def _quoted(error: Any) -> str | None:
    """The refused value, unless it may be a key, or is a whole table."""
    value, location = error.get("input"), error["loc"]
    hidden = error["type"] == "extra_forbidden" or (location and location[-1] in ("api_key_env", "base_url"))
    if isinstance(value, str) and hidden:
        return f"a text of {len(value)} characters"
    # A part that is missing is reported with the whole table as its input.
    return None if isinstance(value, (dict, list, tuple, BaseModel)) else repr(value)
