"""Goal: a teacher file names the teachers, and a teacher that could change under its name is refused.

Method: whole files as a user writes them; names of real models, floating and dated; secrets in every place.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tracelake.producers.teachers.pricing.price_lists import prices_for
from tracelake.producers.teachers.spec.frozen_name import floating_reason, is_dated
from tracelake.producers.teachers.spec.teacher_file import (
    Limits,
    PriceTable,
    Routing,
    Sampling,
    TeacherFile,
    TeacherSpec,
    parse_teacher_file,
    read_teacher_file,
)
from tracelake.schemas.errors import BadInputError, SourceMissingError

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "examples" / "teachers"
# Recognisable wherever it is quoted.
SECRET = "sk-or-v1-5ec2e7" + "f00dfeed" * 4


def file_of(
    *, model: str = "gpt-2025-08-07", base_url: str = "https://api.example.org/v1", more: str = ""
) -> str:
    return f'[[teachers]]\nname = "one"\nbase_url = "{base_url}"\nmodel = "{model}"\n{more}\n'


def parsed(**fields: str) -> TeacherSpec:
    (teacher,) = parse_teacher_file(file_of(**fields), name="teachers.toml").teachers
    return teacher


def refused(text: str) -> str:
    with pytest.raises(BadInputError) as caught:
        parse_teacher_file(text, name="teachers.toml")
    return str(caught.value)


def test_a_teacher_needs_a_name_an_endpoint_and_a_dated_model() -> None:
    teacher = parsed()
    assert teacher.identity() == {
        "model": "gpt-2025-08-07",
        "revision": None,
        "base_url": "https://api.example.org/v1",
    }
    assert (teacher.sampling.max_tokens, teacher.price, teacher.tier) == (4096, "genai-prices", 0)
    assert teacher.routing.extra_body() == {}


def test_openrouter_requests_allow_no_fallbacks_and_only_distillable_models() -> None:
    teacher = parsed(base_url="https://openrouter.ai/api/v1/")
    assert teacher.base_url == "https://openrouter.ai/api/v1"
    assert teacher.routing.extra_body() == {
        "provider": {
            "allow_fallbacks": False,
            "require_parameters": True,
            "data_collection": "deny",
            "enforce_distillable_text": True,
        }
    }
    off = parsed(base_url="https://openrouter.ai/api/v1", more="routing = { enabled = false }")
    assert off.routing.extra_body() == {}
    elsewhere = parsed(
        more='routing = { enabled = true, only = ["a"], max_price = { prompt = 1.5, completion = 3 } }'
    )
    provider = elsewhere.routing.extra_body()["provider"]
    assert (provider["only"], provider["max_price"]) == (["a"], {"prompt": 1.5, "completion": 3.0})


@pytest.mark.parametrize(
    "host", ["openrouter.ai.example.org", "notopenrouter.ai", "example.org/openrouter.ai"]
)
def test_a_host_that_only_contains_the_routers_name_is_not_the_router(host: str) -> None:
    assert parsed(base_url=f"https://{host}/v1").routing.extra_body() == {}


def test_only_set_fields_are_sent() -> None:
    assert parsed().sampling.request_fields() == {"max_tokens": 4096}
    full = parsed(
        more="sampling = { temperature = 0, top_p = 0.9, seed = 3, max_tokens = 9, logprobs = true,"
        ' top_logprobs = 5, reasoning_effort = "low", max_tokens_name = "max_completion_tokens" }'
    )
    assert full.sampling.request_fields() == {
        "temperature": 0.0,
        "top_p": 0.9,
        "seed": 3,
        "max_completion_tokens": 9,
        "logprobs": True,
        "top_logprobs": 5,
        "reasoning_effort": "low",
    }


def test_cache_markers_default_to_anthropics_models() -> None:
    opus = "anthropic/claude-opus-5.5-20260921"
    assert parsed(model=opus).marks_cache
    assert not parsed().marks_cache
    assert not parsed(model=opus, more="cache_markers = false").marks_cache


@pytest.mark.parametrize(
    "model",
    [
        "~anthropic/claude-opus-latest",
        "~moonshotai/kimi-2026-01-01",
        "openai/chatgpt-4o-latest",
        "latest",
        "llama3:latest",
        "gemini-pro-latest:free",
        "claude-LATEST",
        "openrouter/auto",
        "openrouter/horizon-2026-01-01",
        "openai/gpt-5-2025-08-07:online",
        "openai/gpt-5-2025-08-07:nitro",
        "deepseek/deepseek-v4-pro-0813:floor",
        "@preset/judge-20260101",
        "openai/gpt-5@preset/judge-20260101",
    ],
)
def test_a_floating_name_is_refused_even_with_a_revision_and_on_this_machine(model: str) -> None:
    for base_url in ("https://openrouter.ai/api/v1", "http://127.0.0.1:8000/v1"):
        message = refused(file_of(model=model, base_url=base_url, more='revision = "r1"'))
        assert "floating name" in message
        assert "dated release" in message


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-opus-5.5-20260921",
        "claude-3-5-sonnet@20250929",
        "openai/gpt-5-2025-08-07",
        "deepseek/deepseek-v4-pro-0813",
        "moonshotai/kimi-k2-0905",
        "qwen/qwen3-235b-a22b-2507",
        "mistralai/mistral-large-2512",
        "cohere/command-r-08-2024",
        "gemini-2.5-pro-preview-05-06",
        "qwen/qwen-plus-2025-07-28:thinking",
        "doubao-seed-250615",
    ],
)
def test_a_dated_name_is_frozen(model: str) -> None:
    assert is_dated(model)
    assert parsed(model=model, base_url="https://openrouter.ai/api/v1").model == model


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-opus-5.5",
        "openai/gpt-5",
        "deepseek/deepseek-v4-pro",
        "perplexity/r1-1776",
        "claude-opus-4-5",
        "llama-3.1-8192",
        "smollm2-135m",
        "gpt-20261399",
        "gpt-2025-13-01",
    ],
)
def test_an_undated_name_needs_a_revision_or_this_machine(model: str) -> None:
    assert not is_dated(model)
    assert "not frozen" in refused(file_of(model=model))
    assert parsed(model=model, more='revision = "sha256:ab12"').identity()["revision"] == "sha256:ab12"
    for base_url in (
        "http://127.0.0.1:8815/v1",
        "http://localhost/v1",
        "http://[::1]:9/v1",
        "http://127.9.9.9/v1",
    ):
        assert parsed(model=model, base_url=base_url).price == "free"


@pytest.mark.parametrize("base_url", ["http://127.0.0.1.example.org/v1", "http://localhost.example.org/v1"])
def test_a_host_that_only_starts_like_this_machine_is_not_local(base_url: str) -> None:
    assert "not frozen" in refused(file_of(model="gpt", base_url=base_url))


@given(st.text(max_size=40))
def test_any_name_is_classified(model: str) -> None:
    assert floating_reason(model) is None or isinstance(floating_reason(model), str)
    assert isinstance(is_dated(model), bool)


@pytest.mark.parametrize(
    "more",
    [
        f'api_key_env = "{SECRET}"',
        f'api_key_env = "{SECRET.upper().replace("-", "")}"',
        'api_key_env = "AKIA' + '5EC2E7F00DFEED12"',
        f'api_key = "{SECRET}"',
        f'headers = {{ Authorization = "Bearer {SECRET}" }}',
        f'sampling = {{ token = "{SECRET}" }}',
    ],
)
def test_a_key_in_the_file_is_refused_and_not_quoted(more: str) -> None:
    message = refused(file_of(more=more))
    assert "5ec2e7" not in message.lower()
    assert "f00dfeed" not in message.lower()


def test_a_password_in_an_endpoint_is_refused_and_not_quoted() -> None:
    for base_url in (f"https://user:{SECRET}@example.org/v1", f"https://example.org/v1?key={SECRET}"):
        message = refused(file_of(base_url=base_url))
        assert "base_url" in message
        assert SECRET not in message


def test_a_key_is_only_sent_encrypted_or_within_a_private_network() -> None:
    key = 'api_key_env = "TEACHER_KEY"'
    assert "https" in refused(file_of(base_url="http://api.example.org/v1", more=key))
    for base_url in ("https://api.example.org/v1", "http://127.0.0.1:1/v1", "http://10.0.0.5:8000/v1"):
        assert parsed(base_url=base_url, more=key).api_key_env == "TEACHER_KEY"


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ("colour = 1", "teachers.0.colour"),
        ("sampling = { max_tokens = '9' }", "teachers.0.sampling.max_tokens"),
        ("sampling = { max_tokens = true }", "teachers.0.sampling.max_tokens"),
        ("sampling = { max_tokens = 0 }", "teachers.0.sampling.max_tokens"),
        ("sampling = { temperature = nan }", "teachers.0.sampling.temperature"),
        ("sampling = { top_logprobs = 3 }", "teachers.0.sampling"),
        ("routing = { data_collection = 'maybe' }", "teachers.0.routing.data_collection"),
        ("routing = { only = [] }", "teachers.0.routing.only"),
        ("limits = { request_timeout_s = inf }", "teachers.0.limits.request_timeout_s"),
        ("price = 'cheap'", "teachers.0.price.list"),
        ("price = { input = 1 }", "teachers.0.price.table.output"),
        ("price = { input = -1, output = 1 }", "teachers.0.price.table.input"),
        ("base_url = 3", None),
        ("tier = -1", "teachers.0.tier"),
        ("price_model = ''", "teachers.0.price_model"),
    ],
)
def test_an_invalid_file_is_refused_with_the_place_of_the_error(more: str, place: str | None) -> None:
    message = refused(file_of(more=more))
    assert message.startswith("teachers.toml ")
    assert place is None or f" at {place};" in message


@pytest.mark.parametrize(
    "base_url",
    ["", "api.example.org", "ftp://example.org", "https://", "https://a b/", "http://[", "https://h:99999/"],
)
def test_an_invalid_endpoint_is_refused(base_url: str) -> None:
    assert "teachers.0.base_url" in refused(file_of(base_url=base_url))


def test_teachers_need_distinct_names() -> None:
    assert "share a name" in refused(file_of() + file_of())
    assert "teachers" in refused("")
    assert "teachers" in refused("teachers = []")


def test_prices_of_a_table_are_exact() -> None:
    price = parsed(more="price = { input = 0.28, output = 0.42 }").price
    assert isinstance(price, PriceTable)
    assert (price.input, price.output) == (Decimal("0.28"), Decimal("0.42"))


def test_a_price_list_path_is_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "teachers.toml"
    path.write_text(file_of(more='price = "litellm:lists/prices.json"'))
    (teacher,) = read_teacher_file(path).teachers
    assert teacher.price == f"litellm:{(tmp_path / 'lists' / 'prices.json').resolve()}"


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        read_teacher_file(tmp_path / "none.toml")
    path = tmp_path / "teachers.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="UTF-8"):
        read_teacher_file(path)


def test_the_shipped_file_for_openrouter_names_three_priced_teachers() -> None:
    teachers = read_teacher_file(SHIPPED / "openrouter.toml").teachers
    assert len(teachers) == 3
    assert all(teacher.api_key_env == "OPENROUTER_API_KEY" for teacher in teachers)
    assert all(teacher.routing.extra_body()["provider"]["enforce_distillable_text"] for teacher in teachers)
    for teacher in teachers:
        assert prices_for(teacher) is not None
        assert teacher.routing.max_price is not None


def test_the_shipped_local_file_costs_nothing_and_its_comment_is_a_teacher() -> None:
    assert len(read_teacher_file(SHIPPED / "local.toml").teachers) == 3
    text = (SHIPPED / "local.toml").read_text()
    uncommented = re.sub(r"^# (?=\[\[|\w+ = )", "", text, flags=re.MULTILINE)
    file = parse_teacher_file(uncommented, name="local.toml")
    assert [teacher.model for teacher in file.teachers][3:] == ["smollm2-135m-instruct-q4_1"]
    assert {teacher.price for teacher in file.teachers} == {"free"}


@pytest.mark.parametrize(
    ("table", "prefix"),
    [(TeacherSpec, ""), (Sampling, "sampling."), (Routing, "routing."), (Limits, "limits.")],
)
def test_the_documentation_explains_every_key(table: type[BaseModel], prefix: str) -> None:
    page = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
    nested = {"sampling", "routing", "limits"} if table is TeacherSpec else set()
    assert [
        name for name in table.model_fields if name not in nested and f"`{prefix}{name}`" not in page
    ] == []
    assert TeacherFile.model_fields.keys() == {"teachers"}
