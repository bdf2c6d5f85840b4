"""Documents as the reference pages describe them, in plain Python, from plain values."""

from __future__ import annotations

from typing import Any

MARKS = {"type", "id", "index", "tool_call_id", "tool_use_id", "cache_control"}


def lines(texts: list[str | None]) -> str | None:
    return "\n".join(text for text in texts if text) or None


def leaf(value: Any) -> str | None:
    if isinstance(value, list):
        return lines([leaf(one) for one in value])
    return message(value) if isinstance(value, dict) else value or None


def message(value: dict[str, Any]) -> str | None:
    said = content(value.get("content")) or content(value.get("value"))
    more = [
        content(value.get(name)) for name in ("reasoning_content", "function_call", "tool_calls")
    ]
    body = lines([said, *more])
    return body and lines([value.get("role") or value.get("from"), body])


def content(value: Any) -> str | None:
    if isinstance(value, list):
        return lines([content(one) for one in value])
    if not isinstance(value, dict):
        return value or None
    rest = sorted(value.keys() - MARKS - {"text"})
    return lines([value.get("text"), *[named(value, name) for name in rest]])


def data(value: Any) -> str | None:
    if isinstance(value, list):
        return lines([data(one) for one in value])
    if isinstance(value, dict):
        return lines([named(value, name) for name in sorted(value)])
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value) or None


def named(value: dict[str, Any], name: str) -> str | None:
    found = data(value[name])
    return None if found is None else f"{name}\n{found}"


def template(row: dict[str, Any], parts: list[Any]) -> str | None:
    """parts: literal texts, and paths as tuples of names and []."""
    found = [walk(row, part) if isinstance(part, tuple) else part for part in parts]
    if not any(text for text, part in zip(found, parts, strict=True) if isinstance(part, tuple)):
        return None
    return "".join(text or "" for text in found)


def walk(value: Any, steps: tuple[str, ...]) -> str | None:
    if value is None or not steps:
        return None if value is None else leaf(value)
    if steps[0] == "[]":
        return lines([walk(one, steps[1:]) for one in value])
    return walk(value.get(steps[0]), steps[1:])
