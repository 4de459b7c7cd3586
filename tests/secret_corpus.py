"""Fake secrets of many types in many wrappings, and lines that only look like secrets.

Everything is drawn at run time: no file of the project contains a text that looks like a secret.
"""

from __future__ import annotations

import base64
import json
import string
import uuid
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple
from urllib.parse import quote

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import RolloutStarted, ToolReturned, TurnCompleted

ALPHANUMERIC = string.ascii_letters + string.digits
URL_SAFE = ALPHANUMERIC + "-_"
HEX = "0123456789abcdef"
UPPER_32 = string.ascii_uppercase + "234567"


class Canary(NamedTuple):
    """One event with one secret."""

    type: str
    wrapping: str
    secret: str
    """Redaction must leave no twelve consecutive characters of it."""
    event: Event


def drawn(random: Random, letters: str, length: int) -> str:
    return "".join(random.choices(letters, k=length))


def _jwt(random: Random) -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": drawn(random, string.digits, 10), "admin": True})
    )
    return f"{head}.{body}.{drawn(random, URL_SAFE, 43)}"


def _private_key(random: Random) -> str:
    lines = "\n".join(drawn(random, ALPHANUMERIC + "+/", 64) for _ in range(12))
    kind = random.choice(["RSA ", "EC ", "OPENSSH ", ""])
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


MAKERS: dict[str, Callable[[Random], str]] = {
    "openrouter": lambda r: "sk-or-v1-" + drawn(r, HEX, 64),
    "anthropic": lambda r: "sk-ant-api03-" + drawn(r, URL_SAFE, 93) + "AA",
    "openai project": lambda r: (
        "sk-proj-" + drawn(r, URL_SAFE, 74) + "T3Blbk" + "FJ" + drawn(r, URL_SAFE, 74)
    ),
    "openai": lambda r: "sk-" + drawn(r, ALPHANUMERIC, 20) + "T3Blbk" + "FJ" + drawn(r, ALPHANUMERIC, 20),
    "deepseek": lambda r: "sk-" + drawn(r, HEX, 32),
    "huggingface": lambda r: "hf_" + drawn(r, ALPHANUMERIC, 34),
    "github": lambda r: r.choice(["ghp_", "gho_", "ghu_", "ghs_"]) + drawn(r, ALPHANUMERIC, 36),
    "github fine": lambda r: "github_pat_" + drawn(r, ALPHANUMERIC, 22) + "_" + drawn(r, ALPHANUMERIC, 59),
    "gitlab": lambda r: "glpat-" + drawn(r, URL_SAFE, 20),
    "slack": lambda r: (
        f"xoxb-{drawn(r, string.digits, 12)}-{drawn(r, string.digits, 12)}-{drawn(r, ALPHANUMERIC, 24)}"
    ),
    "slack webhook": lambda r: (
        f"https://hooks.slack.com/services/T{drawn(r, UPPER_32, 10)}/B{drawn(r, UPPER_32, 10)}/"
        + drawn(r, ALPHANUMERIC, 24)
    ),
    "aws id": lambda r: r.choice(["AKIA", "ASIA"]) + drawn(r, UPPER_32, 16),
    "aws secret": lambda r: "aws_secret_access_key = " + drawn(r, ALPHANUMERIC + "+/", 40),
    "google": lambda r: "AIza" + drawn(r, URL_SAFE, 35),
    "google oauth": lambda r: "GOCSPX-" + drawn(r, URL_SAFE, 28),
    "azure storage": lambda r: "AccountKey=" + base64.b64encode(r.randbytes(64)).decode(),
    "azure client": lambda r: drawn(r, ALPHANUMERIC, 3) + "8Q~" + drawn(r, ALPHANUMERIC, 34),
    "jwt": _jwt,
    "private key": _private_key,
    "bearer": lambda r: "Authorization: Bearer " + drawn(r, URL_SAFE, 40),
    "basic": lambda r: "Authorization: Basic " + base64.b64encode(r.randbytes(30)).decode(),
    "url password": lambda r: f"postgresql://app:{drawn(r, ALPHANUMERIC, 20)}@db.internal:5432/main",
    "npm": lambda r: "npm_" + drawn(r, ALPHANUMERIC, 36),
    "pypi": lambda r: "pypi-AgEIcHlwaS5vcmc" + drawn(r, URL_SAFE, 150),
    "stripe": lambda r: "sk_live_" + drawn(r, ALPHANUMERIC, 24),
    "sendgrid": lambda r: f"SG.{drawn(r, URL_SAFE, 22)}.{drawn(r, URL_SAFE, 43)}",
    "telegram": lambda r: f"{drawn(r, '123456789', 10)}:AA{drawn(r, URL_SAFE, 33)}",
    "groq": lambda r: "gsk_" + drawn(r, ALPHANUMERIC, 52),
    "nvidia": lambda r: "nvapi-" + drawn(r, URL_SAFE, 64),
    "vault": lambda r: "hvs." + drawn(r, URL_SAFE, 90),
    "databricks": lambda r: "dapi" + drawn(r, HEX, 32),
    "digitalocean": lambda r: "dop_v1_" + drawn(r, HEX, 64),
    "service": lambda r: r.choice(["tvly-", "tgp_v1_", "ntn_", "sbp_"]) + drawn(r, ALPHANUMERIC, 40),
    "named": lambda r: f'export SERVICE_API_KEY="{drawn(r, ALPHANUMERIC, 32)}"',
}
"""By type. Some texts are longer than the secret in them: `secret_part`."""


def secret_part(type_: str, text: str) -> str:
    if type_ == "url password":
        return text.split(":")[2].split("@")[0]
    if type_ == "slack webhook":
        return text.rsplit("/", 1)[1]
    if type_ == "named":
        return text.split('"')[1]
    if type_ in ("aws secret", "bearer", "basic"):
        return text.rsplit(" ", 1)[1]
    if type_ == "azure storage":
        return text.split("=", 1)[1]
    return text


def result(text: str) -> Event:
    return ToolReturned(rollout_id="r", turn_index=0, call_index=0, visible_output=text)


def turn(messages: list[object], action: object) -> Event:
    return TurnCompleted(
        rollout_id="r",
        turn_index=0,
        state_key="s",
        context_length=1,
        new_messages_json=canonical_text(messages),
        action_json=canonical_text(action),
    )


def _call(arguments: object) -> object:
    function = {"name": "bash", "arguments": json.dumps(arguments)}
    return {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def _cut_parts(text: str, cuts: list[int]) -> list[object]:
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [{"type": "text", "text": piece} for piece in pieces]


WRAPPINGS: dict[str, Callable[[str], Event]] = {
    "plain": lambda s: result(f"$ env\nHOME=/x\n{s}\ndone"),
    "after a newline in a message": lambda s: turn([{"role": "user", "content": f"see:\n{s}\n"}], {}),
    "nested JSON": lambda s: result(json.dumps({"log": json.dumps({"line": f"a\n{s}\tb"})})),
    "tool arguments": lambda s: turn([], _call({"command": f"cat <<E\n{s}\nE"})),
    "a key": lambda s: turn([], {"role": "assistant", "content": "", "seen": {s: 1}}),
    "three parts": lambda s: turn(
        [{"role": "user", "content": _cut_parts(f"it is {s} .", [11 + len(s) // 3, 9 + 2 * len(s) // 3])}], {}
    ),
    "streamed": lambda s: turn(
        [],
        {
            "role": "assistant",
            "chunks": [{"choices": [{"delta": {"content": s[i : i + 5]}}]} for i in range(0, len(s), 5)],
        },
    ),
    "configuration": lambda s: RolloutStarted(
        rollout_id="r",
        task_key="t",
        environment="e",
        substrate="x",
        config_json=canonical_text({"args": ["-x", s]}),
    ),
}


def canaries(seed: int) -> Iterator[Canary]:
    """Every type in every wrapping."""
    random = Random(seed)
    for type_, make in MAKERS.items():
        for wrapping, wrap in WRAPPINGS.items():
            text = make(random)
            yield Canary(type_, wrapping, secret_part(type_, text), wrap(text))


def encodings(value: str) -> dict[str, str]:
    """Forms of a known value, alone and within a longer text."""
    data = value.encode()
    return {
        "plain": value,
        "base64": base64.b64encode(data).decode(),
        "url-safe base64": base64.urlsafe_b64encode(data).decode(),
        "base64 after a user": base64.b64encode(b"user:" + data).decode(),
        "base64 of a line": base64.b64encode(b"TOKEN=" + data + b"\n").decode(),
        "hexadecimal": data.hex(),
        "capital hexadecimal": data.hex().upper(),
        "URL": quote(value, safe=""),
        "reversed": value[::-1],
        "JSON": json.dumps(json.dumps({"k": value})),
    }


def benign_lines(seed: int) -> list[str]:
    """400 lines with text that is easily mistaken for secrets."""
    random = Random(seed)
    makers: list[Callable[[Random], str]] = [
        lambda r: f"commit {drawn(r, HEX, 40)}",
        lambda r: f"index {drawn(r, HEX, 7)}..{drawn(r, HEX, 7)} 100644",
        lambda r: f"sha256:{drawn(r, HEX, 64)}  dist/sk-learn-{r.randint(0, 9)}.tar.gz",
        lambda r: f'"request_id": "{uuid.UUID(int=r.getrandbits(128))}"',
        lambda r: "data:image/png;base64,iVBORw0KGgo" + drawn(r, ALPHANUMERIC + "+/", 200) + "==",
        lambda r: (
            f"scikit-learn=={r.randint(0, 9)}.{r.randint(0, 99)}.0 # sk-learn task-runner-{r.randint(0, 9)}"
        ),
        lambda r: (
            f"SLOVAKIA{drawn(r, string.ascii_uppercase, 3)} and NAKIAS, ASIAN-PACIFIC {r.randint(0, 99)}"
        ),
        lambda r: (
            f"password = {r.choice(['PASSWORD_FIELD_NAME', 'raw_password', 'validated_data_password_1'])}"
        ),
        lambda r: f"SECRET_KEY = os.environ.get('DJANGO_SECRET_KEY_{r.randint(0, 9)}', 'not-a-secret-value')",
        lambda r: f"api_key=settings.OPENAI_API_KEY_NAME_{r.randint(0, 99)}",
        lambda r: f"git clone https://git@github.com/x/y-{r.randint(0, 99)}.git && ssh://git@host:22/a",
        lambda r: (
            "headers = {'Authorization': f'Bearer {access_token_for_user}'}  # Bearer authentication_scheme"
        ),
        lambda r: f"-    if '-----BEGIN PRIVATE KEY-----' in text: return {r.randint(0, 9)}",
        lambda r: (
            f"@@ -{r.randint(1, 999)},7 +{r.randint(1, 999)},9 @@ def get_token(self, sk_live_mode=False):"
        ),
        lambda r: f"http://localhost:{r.randint(1000, 9999)}/path@{drawn(r, HEX, 40)}?x=1:2@3",
        lambda r: f"from hf_transfer import x; hf_model_name_or_path_{r.randint(0, 99)}; npm_config_registry",
        lambda r: f'integrity "sha512-{base64.b64encode(r.randbytes(64)).decode()}"',
        lambda r: (
            f"/usr/lib/python3.{r.randint(8, 14)}/site-packages/AIza/eyJ.py:{r.randint(1, 999)}: in <module>"
        ),
        lambda r: f"postgres://{{user}}:{{password}}@{{host}}/db{r.randint(0, 9)} mysql://$USER:$PASS@h/x",
        lambda r: f"ya29 hvs.go dapi_{drawn(r, HEX, 6)} glc_ xoxo-{r.randint(0, 99)} SG.pattern T3Blbk",
    ]
    return [makers[index % len(makers)](random) for index in range(400)]
