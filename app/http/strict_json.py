"""A strict JSON parser: PostgreSQL can store every document that it accepts."""

import json
import math
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from app.errors import InvalidJSON

MAX_DEPTH = 100
"""Maximum number of nested arrays and objects."""

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_RAW_CONTROL = re.compile("[\x00-\x1f]")
_MARKED_TAB_AND_NEWLINE = {0xDC09: "\t", 0xDC0A: "\n"}


def parse(data: bytes, sanitised: Collection[str] = ()) -> Any:
    """Return the JSON document (RFC 8259) in `data`.

    Python's parser accepts more than JSON and PostgreSQL's jsonb do. This one also refuses NaN and
    infinite numbers, NUL characters, lone surrogates, duplicate keys, and nesting past MAX_DEPTH.

    Args:
        data: The text, in UTF-8.
        sanitised: Fields of the outermost object whose strings are sanitised before they are
            stored. They may hold NUL characters and lone surrogates as escapes, raw control
            characters, and bytes that are not UTF-8, which become lone surrogates.

    Raises:
        InvalidJSON: The document is malformed or cannot be stored.
    """
    try:
        return _load(_decode(data), sanitised)
    except InvalidJSON:
        if sanitised:
            with suppress(InvalidJSON):
                return _restore(_load(_mark(data), sanitised, has_marks=True), sanitised)
        raise


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidJSON("It is not UTF-8") from None


def _mark(data: bytes) -> str:
    """Return the text with invalid bytes and raw control characters of strings as surrogates.

    They become lone surrogates as in PEP 383, which the JSON parser accepts.
    """
    text = data.decode("utf-8", "surrogateescape")
    return _STRING.sub(
        lambda string: _RAW_CONTROL.sub(lambda raw: chr(0xDC00 + ord(raw[0])), string[0]), text
    )


def _restore(document: Any, sanitised: Collection[str]) -> Any:
    """Return `document` with the tabs and newlines of its `sanitised` fields unmarked."""
    if not isinstance(document, dict):
        return document
    texts = {name: document[name] for name in sanitised if isinstance(document.get(name), str)}
    return {
        **document,
        **{name: text.translate(_MARKED_TAB_AND_NEWLINE) for name, text in texts.items()},
    }


def _load(text: str, sanitised: Collection[str], *, has_marks: bool = False) -> Any:
    if text.startswith("\ufeff"):
        raise InvalidJSON("It begins with a byte order mark")
    try:
        document = _DECODER.decode(text)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _reject_deep_nesting(document)
    except json.JSONDecodeError as error:
        raise InvalidJSON(
            f"{error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidJSON(f"It is nested past {MAX_DEPTH} levels") from None
    except ValueError:
        raise InvalidJSON("A number in it is too long") from None
    if has_marks or "\\u" in text:
        _reject_unstorable(_without(document, sanitised))
    return document


def _without(document: Any, sanitised: Collection[str]) -> Any:
    """Return `document` without the strings of its `sanitised` fields."""
    if not isinstance(document, Mapping) or not sanitised:
        return document
    return {
        name: value
        for name, value in document.items()
        if name not in sanitised or not isinstance(value, str)
    }


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise InvalidJSON("A key stands twice in one object")
    return document


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidJSON("A number in it is too large")
    return number


def _reject_constant(text: str) -> NoReturn:
    raise InvalidJSON(f"{text} is no JSON number")


def _reject_deep_nesting(document: Any) -> None:
    depth, level = 0, [document]
    while level := [node for node in level if isinstance(node, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidJSON(f"It is nested past {MAX_DEPTH} levels")
        level = [
            child for node in level for child in (node.values() if isinstance(node, dict) else node)
        ]


def _reject_unstorable(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False)
    if "\\u0000" in text.replace("\\\\", ""):
        raise InvalidJSON("A string in it holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidJSON("A string in it holds half of a surrogate pair") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys,
    parse_float=_parse_finite,
    parse_constant=_reject_constant,
)
