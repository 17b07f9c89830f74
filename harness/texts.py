"""Names and values as MLflow takes them, and addresses without passwords."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

MAX_TEXT = 5000
"""Longest value of a parameter or tag, in characters; servers cut at 5000, 6000 or 8000."""
LONGEST_NAME = 120


def params(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config as MLflow parameters: nested keys joined by dots, long values visibly cut."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(params(value, f"{prefix}{key}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[name_of(f"{prefix}{key}")] = cut(text)
    return flat


def cut(text: str, length: int = MAX_TEXT) -> str:
    """`text`, or as much of it as MLflow keeps, with a mark that says so."""
    if len(text) <= length:
        return text
    mark = f" ... [cut: {len(text)} characters, all of them in the JSON among the artifacts]"
    return text[: length - len(mark)] + mark


def whole(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that say something, long ones visibly cut."""
    return {name: cut(value) for name, value in tags.items() if value}


def title(text: str) -> str:
    """The name of a run, one that is too long for a list visibly cut."""
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def name_of(text: str) -> str:
    """A name MLflow takes: it refuses, among others, `@ = [ ]`."""
    return re.sub(r"[^\w\-. :/]", "_", text, flags=re.ASCII)


def milliseconds(moment: str) -> int:
    """ISO 8601 as ms since 1970."""
    return int(1000 * datetime.fromisoformat(moment).timestamp())


def safe(text: str) -> str:
    """`text` without the user names and passwords of its URIs."""
    text = re.sub(r"(?<=://)[^/\s]*@", "***@", text)
    return re.sub(r"(?i)([?&](?:password|token)=)[^&\s]*", r"\1***", text)
