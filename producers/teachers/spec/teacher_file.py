"""`teachers.toml`: which models may be asked, with which sampling, routing, limits and prices.

Flow: TOML → `TeacherFile` → one `TeacherSpec` per teacher.

**A teacher is frozen, or it is refused.** A name that can point to another model tomorrow (`~…`, `latest`, a
router's choice, a variant that picks a provider per call) is always refused. Any other name is frozen if it
has a date or a `revision`, or if this machine serves it.
**No key is in the file**: `api_key_env` names an environment variable. Errors never quote a possible key.
**Unknown keys are refused, and so are values of another type**: `"5"` is not a number, `true` is not 1.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from tracelake.producers.teachers.spec.frozen_name import (
    endpoint_of,
    floating_reason,
    is_dated,
    without_local_port,
)
from tracelake.schemas.errors import BadInputError, SourceMissingError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MODEL = r"^[!-~]{1,256}$"
ENVIRONMENT_VARIABLE = r"^[A-Z_][A-Z0-9_]{0,63}$"
PRICE_LIST = r"^(free|genai-prices(:[a-z0-9_-]+)?|litellm:.+)$"
ROUTER_HOST = "openrouter.ai"

Dollars = Annotated[Decimal, Field(ge=0, le=100_000, strict=False)]


class StrictModel(BaseModel):
    """Base of every table of the file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Sampling(StrictModel):
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    max_tokens: int = Field(default=4096, ge=1, le=10_000_000)
    """Completion tokens at most, reasoning included. The reservation of a call depends on it."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The name of this field at the endpoint."""
    sample_count: int = Field(default=1, ge=1, le=1000)
    """Answers per question."""
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    reasoning_effort: str | None = Field(default=None, pattern=r"^[a-z]{1,16}$")

    @model_validator(mode="after")
    def _alternatives_need_logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs = true")
        return self

    def request_fields(self) -> dict[str, Any]:
        """The sampling fields of a request body; unset fields are not sent."""
        names = ("temperature", "top_p", "seed", "top_logprobs", "reasoning_effort")
        fields = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        fields[self.max_tokens_name] = self.max_tokens
        return {**fields, "logprobs": True} if self.logprobs else fields


class MaxPrice(StrictModel):
    """The most that a provider may charge: dollars per million tokens, and per request."""

    prompt: Dollars
    completion: Dollars
    request: Dollars | None = None


class Routing(StrictModel):
    """OpenRouter's `provider` object. The defaults keep a teacher's answers independent of load."""

    enabled: bool | None = None
    """Whether requests carry the object; unset: only at OpenRouter's endpoint."""
    allow_fallbacks: bool = False
    require_parameters: bool = True
    """Without it, providers silently drop parameters that they do not support."""
    data_collection: Literal["deny", "allow"] = "deny"
    enforce_distillable_text: bool = True
    """Only models whose authors allow training on their output."""
    only: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    order: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    quantizations: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    max_price: MaxPrice | None = None
    """With it, a reservation is large enough even if prices changed after the price list was written."""

    def extra_body(self) -> dict[str, Any]:
        """`{"provider": …}`, which extends OpenAI's request body; empty unless enabled."""
        if not self.enabled:
            return {}
        provider = self.model_dump(exclude={"enabled", "max_price"}, exclude_none=True, mode="json")
        if self.max_price is not None:
            rates = self.max_price.model_dump(exclude_none=True)
            provider["max_price"] = {name: float(dollars) for name, dollars in rates.items()}
        return {"provider": provider}


class Limits(StrictModel):
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrency_max: int | None = Field(default=None, ge=1, le=1000)
    context_token_max: int | None = Field(default=None, ge=1)
    """Prompt and completion together."""
    over_context: Literal["skip", "drop_oldest_tool_outputs"] = "skip"
    request_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    body_byte_max: int = Field(default=16 * 2**20, ge=1024)
    """Bytes of a response that are read at most."""


class PriceTable(StrictModel):
    """Dollars per million tokens, and per request. Cache tokens without a price cost as much as input."""

    input: Dollars
    output: Dollars
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    request: Dollars = Decimal(0)


def _price_kind(price: object) -> str:
    return "list" if isinstance(price, str) else "table"


PriceSource = Annotated[
    Annotated[PriceTable, Tag("table")] | Annotated[str, Field(pattern=PRICE_LIST), Tag("list")],
    Discriminator(_price_kind),
]


def _default_price(fields: dict[str, Any]) -> str:
    is_local = "base_url" in fields and endpoint_of(fields["base_url"]).is_local
    return "free" if is_local else "genai-prices"


class TeacherSpec(StrictModel):
    """One frozen teacher."""

    name: str = Field(pattern=NAME)
    """A label: two teachers with the same model, revision and endpoint are the same teacher."""
    base_url: str
    """An OpenAI-compatible endpoint, such as `https://openrouter.ai/api/v1`."""
    model: str = Field(pattern=MODEL)
    revision: str | None = Field(default=None, min_length=1, max_length=128)
    """Freezes a model whose name has no date: a release, or a hash of the weights."""
    api_key_env: str | None = Field(default=None, pattern=ENVIRONMENT_VARIABLE)
    """Name of the environment variable with the key."""
    sampling: Sampling = Sampling()
    routing: Routing = Field(default=Routing(), validate_default=True)
    limits: Limits = Limits()
    price: PriceSource = Field(default_factory=_default_price, validate_default=True)
    """`genai-prices` (the provider with this endpoint, or `genai-prices:PROVIDER`), `litellm:PATH`
    (relative to the file), a table, or `free`. Unset: `free` on this machine, else `genai-prices`."""
    price_model: str | None = Field(default=None, pattern=MODEL)
    """The model's name in the price list, if that differs."""
    tier: int = Field(default=0, ge=0)
    """Lower tiers are asked first."""
    cache_markers: bool | None = None
    """Whether prompts carry Anthropic's `cache_control`; unset: only for models of `anthropic/`."""
    license: str | None = Field(default=None, min_length=1, max_length=128)
    """Licence or terms of the model and its endpoint, such as `apache-2.0`."""
    distillable: bool | None = None
    """Whether these terms allow training other models on the answers; unset: yes if the router was asked for
    nothing else, otherwise unknown."""

    def identity(self) -> dict[str, Any]:
        """The part of a teacher that enters the key of a request.

        Without the port on this machine: a local server that restarts on another port is the same teacher.
        """
        return {"model": self.model, "revision": self.revision, "base_url": without_local_port(self.base_url)}

    @property
    def marks_cache(self) -> bool:
        marked = self.cache_markers
        return self.model.startswith("anthropic/") if marked is None else marked

    @property
    def may_be_distilled(self) -> bool | None:
        """Null: unknown."""
        if self.distillable is None and self.routing.enabled and self.routing.enforce_distillable_text:
            return True
        return self.distillable

    @field_validator("base_url")
    @classmethod
    def _normalize_base_url(cls, base_url: str) -> str:
        endpoint_of(base_url)
        return base_url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _refuse_a_key(cls, name: str | None) -> str | None:
        # Some keys are upper-case letters and digits only; variable names of that length have underscores.
        if name is not None and len(name) >= 16 and "_" not in name:
            raise ValueError("looks like a key; give the name of the environment variable with the key")
        return name

    @field_validator("routing")
    @classmethod
    def _enable_for_the_router(cls, routing: Routing, info: Any) -> Routing:
        if routing.enabled is not None or "base_url" not in info.data:
            return routing
        host = endpoint_of(info.data["base_url"]).host
        return routing.model_copy(update={"enabled": host == ROUTER_HOST or host.endswith("." + ROUTER_HOST)})

    @model_validator(mode="after")
    def _require_a_frozen_model(self) -> Self:
        floating = floating_reason(self.model)
        if floating is not None:
            raise ValueError(f"model {self.model!r} is a floating name ({floating}); name a dated release")
        if not (is_dated(self.model) or self.revision or endpoint_of(self.base_url).is_local):
            raise ValueError(f"model {self.model!r} is not frozen; name a dated release, or give a revision")
        return self

    @model_validator(mode="after")
    def _require_encryption_for_a_key(self) -> Self:
        endpoint = endpoint_of(self.base_url)
        if self.api_key_env is not None and endpoint.is_plain and not endpoint.is_private:
            raise ValueError("the key would be sent unencrypted; use https")
        return self


class TeacherFile(StrictModel):
    teachers: tuple[TeacherSpec, ...] = Field(min_length=1, strict=False)

    @model_validator(mode="after")
    def _require_distinct_names(self) -> Self:
        names = [teacher.name for teacher in self.teachers]
        if len(set(names)) != len(names):
            raise ValueError("two teachers share a name")
        return self


def read_teacher_file(path: Path) -> TeacherFile:
    """Read a file and make the paths of its price lists absolute.

    Raises SourceMissingError, BadInputError naming the key.
    """
    if not path.is_file():
        raise SourceMissingError("no teacher file", got=str(path), expected="a TOML file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path.name} is not TOML", got=str(error), expected="UTF-8") from error
    file = parse_teacher_file(text, name=path.name)
    return TeacherFile(
        teachers=tuple(_with_absolute_price(teacher, path.parent) for teacher in file.teachers)
    )


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
            f"{name} breaks the contract at {'.'.join(map(str, first['loc'])) or 'its top'}",
            got=_quotable(first),
            expected=first["msg"].removeprefix("Value error, "),
            cure="docs/teachers.md lists every key.",
        ) from None


def _with_absolute_price(teacher: TeacherSpec, folder: Path) -> TeacherSpec:
    if not isinstance(teacher.price, str) or not teacher.price.startswith("litellm:"):
        return teacher
    path = (folder / teacher.price.removeprefix("litellm:")).resolve()
    return teacher.model_copy(update={"price": f"litellm:{path}"})


def _quotable(error: Any) -> str | None:
    """The refused value, unless it may be a key or is a whole table."""
    value, location = error.get("input"), error["loc"]
    hidden = error["type"] == "extra_forbidden" or (location and location[-1] in ("api_key_env", "base_url"))
    if isinstance(value, str) and hidden:
        return f"a text of {len(value)} characters"
    # pydantic reports a missing field with the whole table as its input.
    return None if isinstance(value, (dict, list, tuple, BaseModel)) else repr(value)
