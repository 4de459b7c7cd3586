"""36 shapes of secrets with random values, and the places where traces have them."""

from __future__ import annotations

import base64
import json
import string
import uuid
from collections.abc import Callable
from random import Random
from typing import NamedTuple
from urllib.parse import quote

from tests.secret_corpus import ALPHANUMERIC, HEX, MAKERS, URL_SAFE, drawn


class Shape(NamedTuple):
    """One kind of secret: a text, and the part of it that must not survive."""

    text: str
    core: str


def _named(before: str, letters: str, length: int, after: str = "") -> Callable[[Random], Shape]:
    def make(random: Random) -> Shape:
        core = drawn(random, letters, length)
        return Shape(before + core + after, core)

    return make


def _known(type_: str) -> Callable[[Random], Shape]:
    def make(random: Random) -> Shape:
        text = MAKERS[type_](random)
        lines = text.splitlines()
        return Shape(text, lines[len(lines) // 2] if len(lines) > 1 else text)

    return make


def _uuid(random: Random) -> Shape:
    core = str(uuid.UUID(int=random.getrandbits(128), version=4))
    return Shape(f"HEROKU_API_KEY={core}", core)


def _pgp(random: Random) -> Shape:
    lines = [drawn(random, ALPHANUMERIC + "+/", 64) for _ in range(8)]
    kind = "PGP PRIVATE " + "KEY BLOCK"
    return Shape(f"-----BEGIN {kind}-----\n\n" + "\n".join(lines) + f"\n-----END {kind}-----", lines[3])


def _docker(random: Random) -> Shape:
    core = base64.b64encode(f"user:{drawn(random, ALPHANUMERIC, 24)}".encode()).decode()
    return Shape(json.dumps({"auths": {"registry.test": {"auth": core}}}), core)


NAMED_SHAPES: dict[str, Callable[[Random], Shape]] = {
    "Anthropic": _known("anthropic"),
    "OpenAI project": _known("openai project"),
    "OpenRouter": _known("openrouter"),
    "GitHub PAT": _known("github"),
    "GitLab": _known("gitlab"),
    "Slack": _known("slack"),
    "AWS id": _known("aws id"),
    "AWS secret, named": _named("aws_secret_access_key=", ALPHANUMERIC, 40),
    "Google": _known("google"),
    "JWT": _known("jwt"),
    "PEM": _known("private key"),
    "Postgres URL": _named("postgresql://app:", ALPHANUMERIC, 20, "@db.test/main"),
    "Hugging Face": _known("huggingface"),
    "Stripe": _known("stripe"),
    "a named random value": _named("SERVICE_API_KEY=", ALPHANUMERIC, 32),
    "token in a query": _named("https://api.test/v1?token=", ALPHANUMERIC, 32),
    "access_token in a query": _named("https://api.test/v1?access_token=", ALPHANUMERIC, 32),
    "session cookie": _named("Cookie: session=", ALPHANUMERIC, 40),
    "X-Api-Key": _named("X-Api-Key: ", ALPHANUMERIC, 32),
    "Twilio": _named("TWILIO_AUTH_TOKEN=", HEX, 32),
    "Mailgun": _named("key-", HEX, 32),
    "docker auth": _docker,
    "netrc": _named("machine host.test login me password ", ALPHANUMERIC, 24),
    "Heroku UUID": _uuid,
    "Google refresh token": _named("1//0", URL_SAFE, 60),
    "token:": _named("token: ", ALPHANUMERIC, 32),
    "SECRET=": _named("SECRET=", ALPHANUMERIC, 32),
    "GITHUB_TOKEN= with hexadecimal": _named("GITHUB_TOKEN=", HEX, 40),
    "kubeconfig key data": _named("client-key-data: ", ALPHANUMERIC, 80),
    "Bearer": _named("Authorization: Bearer ", ALPHANUMERIC, 40),
    "shadow line": _named("root:$6$" + "ab12cd34$", ALPHANUMERIC, 86, ":19000:0:99999:7:::"),
    "mysql -p": _named("mysql -u root -p", ALPHANUMERIC, 20),
    "PGP block": _pgp,
}
"""Those that redaction names; README has the same list."""

NOT_NAMED_SHAPES: dict[str, Callable[[Random], Shape]] = {
    "AWS secret, bare": _named("", ALPHANUMERIC + "+/", 40),
    "a human password": _named("DB_PASSWORD=", string.ascii_lowercase, 9),
    "words": lambda r: Shape("PGPASSWORD=" + "correct-horse-battery", "correct-horse-battery"),
}
"""Nothing tells these from text."""


def _base64(text: str) -> str:
    return base64.b64encode(("x = 1\n" * 60 + text + "\ny = 2" * 40).encode()).decode()


def _coloured(shape: Shape) -> str:
    middle = shape.text.index(shape.core) + len(shape.core) // 2
    return f"\x1b[31m{shape.text[:middle]}\x1b[0m{shape.text[middle:]}\x1b[K"


def _joined(shape: Shape) -> str:
    return shape.text.replace("\n", "\\n").replace(" ", "_") if "\n" in shape.text else shape.text


PLACES: dict[str, Callable[[Shape], str]] = {
    "message": lambda s: f"Use this:\n{s.text}\nplease.",
    "tool output": lambda s: f"$ env\nPATH=/usr/bin\n{s.text}\n$ ",
    "nested JSON": lambda s: json.dumps({"log": json.dumps({"line": s.text})}),
    "heredoc": lambda s: f"cat > .env <<'EOF'\n{s.text}\nEOF",
    "diff line": lambda s: "@@ -1 +1,2 @@\n a = 1\n" + "\n".join("+" + line for line in s.text.splitlines()),
    "exception text": lambda s: f"Traceback:\nValueError: refused '{s.text}'",
    "URL-encoded": lambda s: "q=" + quote(s.text, safe=""),
    "colour codes inside": _coloured,
    "base64 of the whole": lambda s: _base64(s.text),
    "base64 in lines of 76": lambda s: "\n".join(
        _base64(s.text)[at : at + 76] for at in range(0, len(_base64(s.text)), 76)
    ),
}


def forms_left(shapes: list[Shape], text: str) -> list[str]:
    """Stretches of twelve characters of the cores that are left in a text, plain or in base64."""
    letters = "".join(letter for letter in text if letter in ALPHANUMERIC + "+/")
    shifted = [letters[shift:] for shift in range(4)]
    decoded = [base64.b64decode(each[: len(each) // 4 * 4]).decode("latin-1") for each in shifted]
    pieces = {shape.core[at : at + 12] for shape in shapes for at in range(max(1, len(shape.core) - 11))}
    seen = {each[at : at + 12] for each in (text, *decoded) for at in range(len(each) - 11)}
    return sorted(pieces & seen)
