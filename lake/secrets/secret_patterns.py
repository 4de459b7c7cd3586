"""Patterns of secrets: the second layer of redaction.

**Every pattern has anchors**: literals of three bytes or more, one of which is in every match. A text without
an anchor needs no regular expression.
**Anchors survive escaping**: none contains a character that JSON escapes, so they are found in JSON text of
any depth as in plain text.
**An escape is a word boundary.** In `\\nAKIA…`, as in JSON within a string, `n` is no part of the word.
**A group named `secret` is the secret**; without one the whole match is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tracelake.lake.secrets import secret_names
from tracelake.lake.secrets.secret_names import (
    GAP,
    LOOSE_GAP,
    VALUE,
    looks_drawn,
    looks_random,
    looks_random_or_drawn,
)

TOKEN_OPEN, TOKEN_CLOSE = "⟦", "⟧"

_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\\u00[0-9a-f]{2})|(?<=%[0-9A-Fa-f]{2}))"
_END = r"(?![A-Za-z0-9])"
_NEWLINE = r"(?:\s|\\+[nrt])"
# Excludes the dashes of the next key's beginning: else the search for an end would be quadratic.
_PEM_BODY = rf"(?:[A-Za-z0-9+/=:,.()\"']|-(?!----)|{_NEWLINE})"
_PEM_KIND = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"


class SecretPattern(NamedTuple):
    """One kind of secret."""

    type: str
    """Its name in tokens."""
    anchors: tuple[str, ...]
    expression: re.Pattern[str]
    is_secret: Callable[[str], bool] | None = None
    """Spares words that a human chose, such as `password=PASSWORD_FIELD_NAME`; null: every match is one."""
    name_length_max: int = 0
    """If not 0, matches begin at most so many characters before an anchor."""

    def matches(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each secret."""
        if self.name_length_max:
            yield from self._near_anchors(text)
            return
        group = "secret" if "secret" in self.expression.groupindex else 0
        for match in self.expression.finditer(text):
            if self.is_secret is None or self.is_secret(match[group]):
                yield match.span(group)

    def _near_anchors(self, text: str) -> Iterator[tuple[int, int]]:
        """For expressions that begin with many alternatives: tried only where an anchor is, with what follows
        it as its check demands."""
        for anchor in self.anchors:
            check = _TEXT_CHECKS[anchor]
            at = text.find(anchor)
            while at >= 0:
                after = at + 1
                if check.match(text, at):
                    starts = range(max(0, at - self.name_length_max), at + 1)
                    matches = (self.expression.match(text, start) for start in starts)
                    match = next((each for each in matches if each and each.start("secret") > at), None)
                    if match:
                        # Never twice over the same value: time stays linear.
                        after = match.end()
                        if self.is_secret is None or self.is_secret(match["secret"]):
                            yield match.span("secret")
                at = text.find(anchor, after)


def _pattern(
    type_: str,
    anchors: str,
    expression: str,
    *,
    random: bool = False,
    is_secret: Callable[[str], bool] | None = None,
) -> SecretPattern:
    return SecretPattern(
        type_, tuple(anchors.split()), re.compile(expression), looks_random if random else is_secret
    )


PATTERNS: tuple[SecretPattern, ...] = (
    _pattern("openrouter", "sk-", r"sk-or-[A-Za-z0-9_-]{24,}"),
    _pattern("anthropic", "sk-", r"sk-ant-[A-Za-z0-9_-]{24,}"),
    _pattern(
        "openai",
        "sk-",
        r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{24,}|sk-[A-Za-z0-9_-]{16,90}T3BlbkFJ[A-Za-z0-9_-]{16,}",
    ),
    _pattern("langfuse", "sk-", r"sk-lf-[0-9a-f]{8}-[0-9a-f-]{27}"),
    _pattern("sk_key", "sk-", rf"{_START}sk-[A-Za-z0-9]{{32,}}{_END}", random=True),
    _pattern("huggingface", "hf_", rf"{_START}hf_[A-Za-z0-9]{{30,}}"),
    _pattern("github", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    _pattern("github", "github_pat_", r"github_pat_[A-Za-z0-9_]{50,}"),
    _pattern("gitlab", "glpat- gldt- glrt- glptt- glsoat-", r"gl(?:pat|dt|rt|ptt|soat)-[A-Za-z0-9_.-]{20,}"),
    _pattern("slack", "xox", r"xox[abeprs][-.][A-Za-z0-9.-]{16,}"),
    _pattern("slack", "xapp-", r"xapp-\d-[A-Z0-9]+-\d+-[A-Za-z0-9]{16,}"),
    _pattern(
        "slack_webhook", "hooks.slack.com", r"(?<=hooks\.slack\.com/)[a-z]+/T\w{6,}/[A-Z]\w{6,}/\w{16,}"
    ),
    _pattern("discord_webhook", "api/webhooks/", r"(?<=api/webhooks/)\d{15,}/[A-Za-z0-9_-]{50,}"),
    _pattern("aws", "AKIA ASIA", rf"{_START}A[KS]IA[A-Z2-7]{{16}}{_END}"),
    _pattern("google", "AIza", rf"{_START}AIza[A-Za-z0-9_-]{{35,}}"),
    _pattern(
        "google", "GOCSPX- ya29.", rf"{_START}(?:GOCSPX-[A-Za-z0-9_-]{{24,}}|ya29\.[A-Za-z0-9_.-]{{30,}})"
    ),
    _pattern("google", "1//0 1%2F%2F0", rf"{_START}1//0[A-Za-z0-9_-]{{40,}}"),
    _pattern(
        "azure",
        "AccountKey SharedAccessKey",
        rf"(?:AccountKey|SharedAccessKey)=(?P<secret>[A-Za-z0-9+/%]{{40,}}={{0,2}}){_END}",
    ),
    _pattern("azure", "7Q~ 8Q~", rf"{_START}[A-Za-z0-9_~.]{{3}}[78]Q~[A-Za-z0-9_~.-]{{31,}}"),
    _pattern("azure_signature", "sig=", r"[?&;]sig=(?P<secret>[A-Za-z0-9%+/]{40,}={0,2})", random=True),
    _pattern(
        "jwt",
        ".eyJ",
        rf"{_START}eyJ[A-Za-z0-9_-]{{8,2000}}\.eyJ[A-Za-z0-9_-]{{8,}}(?:\.[A-Za-z0-9_-]{{8,}})?",
    ),
    SecretPattern(
        "private_key",
        ("PRIVATE",),
        re.compile(
            rf"-----BEGIN {_PEM_KIND}(?:{_PEM_BODY}{{40,20000}}?-----END {_PEM_KIND}"
            rf"|(?:{_NEWLINE}{{0,8}}[A-Za-z0-9+/=]{{24,}})+)"
        ),
    ),
    _pattern(
        "bearer",
        "earer BEARER",
        r"(?i:bearer)(?:[ \t\r\n]|\\{1,4}[nrt]|%20|\+){1,4}(?P<secret>[A-Za-z0-9_\-+/=.~]{16,})",
        random=True,
    ),
    _pattern(
        "authorization",
        "uthorization UTHORIZATION",
        rf"(?i:uthorization){GAP}(?i:basic|token|apikey|key)[ \t]{{1,4}}(?P<secret>{VALUE}{{12,}})",
    ),
    # URLs with a password, or with a token in place of the user.
    _pattern(
        "url_password",
        "://",
        r"(?<=[A-Za-z0-9]://)[^\s/@:\"'`<>{}$*%⟦⟧\\]{0,100}:(?P<secret>[^\s/@:\"'`<>{}$*⟦⟧\\]{3,200})@(?=[\w\[])",
    ),
    _pattern(
        "url_token", "://", r"(?<=[A-Za-z0-9]://)(?P<secret>[A-Za-z0-9_-]{20,200})@(?=[\w\[])", random=True
    ),
    _pattern("npm", "npm_", rf"{_START}npm_[A-Za-z0-9]{{36,}}"),
    _pattern("pypi", "pypi-Ag", r"pypi-Ag[A-Za-z0-9_-]{50,}"),
    _pattern(
        "stripe",
        "k_live_ k_test_ whsec_",
        r"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9+/]{20,}",
    ),
    _pattern("sendgrid", "SG.", rf"{_START}SG\.[A-Za-z0-9_-]{{16,32}}\.[A-Za-z0-9_-]{{30,}}"),
    _pattern("telegram", ":AA", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{33}"),
    _pattern("groq", "gsk_", rf"{_START}gsk_[A-Za-z0-9]{{40,}}"),
    _pattern("xai", "xai-", rf"{_START}xai-[A-Za-z0-9]{{60,}}"),
    _pattern("perplexity", "pplx-", rf"{_START}pplx-[A-Za-z0-9]{{40,}}"),
    _pattern("replicate", "r8_", rf"{_START}r8_[A-Za-z0-9]{{36,}}"),
    _pattern("nvidia", "nvapi-", r"nvapi-[A-Za-z0-9_-]{50,}"),
    _pattern("langsmith", "lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _pattern("wandb", "_v1_", r"wandb_v1_[A-Za-z0-9_]{30,}"),
    _pattern("databricks", "dapi", rf"{_START}dapi[0-9a-f]{{32}}(?:-\d)?{_END}"),
    _pattern("digitalocean", "_v1_", r"do[opr]_v1_[0-9a-f]{60,}"),
    _pattern("docker", "dckr_", r"dckr_[po]at_[A-Za-z0-9_-]{24,}"),
    _pattern("vault", "hvs. hvb.", rf"{_START}hv[sb]\.[A-Za-z0-9_-]{{24,}}"),
    _pattern("grafana", "glsa_ glc_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,}={0,2}"),
    _pattern("age", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}"),
    _pattern(
        "service",
        "pcsk_ tvly- _v1_ e2b_ lin_api_ ntn_ sbp_ tskey- shpat_ sntrys_ PMAK-",
        rf"{_START}(?:pcsk_|tvly-|tgp_v1_|e2b_|lin_api_|ntn_|sbp_|tskey-|shpat_|sntrys_|PMAK-)[A-Za-z0-9_=/+-]{{30,}}",
        random=True,
    ),
    # Hashes of passwords, as in /etc/shadow: the rest can be guessed from them.
    _pattern(
        "password_hash",
        "$6$ $5$ $y$ $2a$ $2b$ $argon2 %246%24",
        r"\$(?:[56y]|2[ab]|argon2[id]{1,2})\$(?P<secret>[A-Za-z0-9./+=$,-]{24,})",
    ),
    _pattern(
        "mysql",
        "mysql",
        r"mysql\w{0,10}(?:[ \t][^\n|;&]{0,80}?)?[ \t]-p(?P<secret>[^\s\"'\\|;&<>]{8,})",
        random=True,
    ),
    _pattern("mailgun", "key-", rf"{_START}key-[0-9a-f]{{32}}{_END}"),
    SecretPattern(
        "named",
        secret_names.ANCHORS,
        re.compile(secret_names.STRONG_NAMED),
        looks_random_or_drawn,
        secret_names.NAME_LENGTH_MAX,
    ),
    SecretPattern(
        "named",
        secret_names.ANCHORS,
        re.compile(secret_names.WEAK_NAMED),
        looks_drawn,
        secret_names.NAME_LENGTH_MAX,
    ),
)

PERCENT_SCHEME = "%3A%2F%2F"
"""`://` of an address within an address; its percent-decoded copy is matched."""
CHECKS: dict[str, re.Pattern[bytes]] = {
    "://": re.compile(rb"://[^\s/@\"'`<>{}$*\\]{0,1300}@"),
    "sk-": re.compile(rb"sk-[A-Za-z0-9_-]{16}"),
    "xox": re.compile(rb"xox[abeprs][-.][A-Za-z0-9.-]{16}"),
    "_v1_": re.compile(rb"_v1_[A-Za-z0-9_=/+-]{30}"),
    "k_live_": re.compile(rb"k_live_[A-Za-z0-9+/]{20}"),
    "k_test_": re.compile(rb"k_test_[A-Za-z0-9+/]{20}"),
    "hf_": re.compile(rb"hf_[A-Za-z0-9]{30}"),
    "r8_": re.compile(rb"r8_[A-Za-z0-9]{36}"),
    "SG.": re.compile(rb"SG\.[A-Za-z0-9_-]{16}"),
    ":AA": re.compile(rb":AA[A-Za-z0-9_-]{33}"),
    "sig=": re.compile(rb"sig=[A-Za-z0-9%+/]{40}"),
    **{
        name: re.compile(name.encode() + LOOSE_GAP + rb"(?i:basic|token|apikey|key)")
        for name in ("uthorization", "UTHORIZATION")
    },
    **{
        name: re.compile(name.encode() + rb"(?:[^A-Za-z0-9]|\\[nrt]|%20){1,40}[A-Za-z0-9_\-+/=.~%]{16}")
        for name in ("earer", "BEARER")
    },
    "PRIVATE": re.compile(rb"PRIVATE(?: |%20|\+)KEY"),
    PERCENT_SCHEME: re.compile(rb"%3A%2F%2F[^\s/@\"'`<>{}$*\\]{0,1300}(?:%40|@)"),
    "mysql": re.compile(rb"mysql[^\n]{0,400}?-p[^\s\"'\\]{8}"),
    "key-": re.compile(rb"key-[0-9a-f]{32}"),
    "1//0": re.compile(rb"1//0[A-Za-z0-9_-]{40}"),
    "1%2F%2F0": re.compile(rb"1%2F%2F0[A-Za-z0-9_-]{40}"),
    **secret_names.CHECKS,
}
"""By anchor: an expression for the anchor and the text behind it, in JSON text of any depth. It is looser
than the pattern, and exists only for anchors that are frequent in clean text."""
_TEXT_CHECKS = {anchor: re.compile(CHECKS[anchor].pattern.decode()) for anchor in secret_names.ANCHORS}
