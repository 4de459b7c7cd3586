"""Recorded HTTP exchanges with real providers, as (endpoint, request, usage)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def recorded_calls(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(endpoint, request, usage) of every recorded chat completion, streams included."""
    for path in sorted(folder.rglob("*.yaml")):
        try:
            exchanges = yaml.load(path.read_text(), LOADER)["interactions"]
        except yaml.YAMLError:
            continue
        for exchange in exchanges:
            request, response = exchange["request"].get("parsed_body"), exchange["response"]
            if isinstance(request, dict) and "messages" in request:
                for body in bodies(response):
                    if isinstance(body, dict) and body.get("usage"):
                        yield exchange["request"]["uri"], request, body["usage"]


def bodies(response: dict[str, Any]) -> Iterator[Any]:
    if "parsed_body" in response:
        yield response["parsed_body"]
        return
    text = response.get("body") or ""
    text = text.get("string") if isinstance(text, dict) else text
    for line in str(text).splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))
