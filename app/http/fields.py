"""Marshmallow fields with the API's error texts, and the schema that reports faults in order.

The `metadata` of a field is its JSON Schema in the OpenAPI document.
"""

import functools
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, missing

from app.errors import InvalidInput
from app.text.credentials import holds_secret
from app.text.sanitising import one_line, sanitise

MAX_CHOICES = 200
"""Maximum number of values in a `ListOf`."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIMESTAMP = re.compile(r"[0-9W-]{7,10}[T ][0-9:.,]+(?:Z|[+-][0-9:]+)?", re.ASCII)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def must(phrase: str) -> dict[str, Any]:
    """Return error messages for a field: each fault is reported as ``must <phrase>``."""
    return dict.fromkeys(
        ("required", "null", "invalid", "validator_failed", "type"), f"must {phrase}"
    )


def with_schema(options: Mapping[str, Any], **json_schema: Any) -> dict[str, Any]:
    """Return a field's `options` with its JSON Schema, which metadata of the options overrides."""
    return {**options, "metadata": {**json_schema, **options.get("metadata", {})}}


def about(description: str, **json_schema: Any) -> dict[str, Any]:
    """Return the options of a field that describe it in the OpenAPI document."""
    return {"metadata": {"description": description, **json_schema}}


class StrictSchema(Schema):
    """A schema that refuses unknown names and reports all faults in the order of its fields.

    `title` is its name in the OpenAPI document; without one it has the name of the class.
    """

    title: ClassVar[str] = ""

    @functools.cached_property
    def sanitised(self) -> frozenset[str]:
        """The names of the fields that are sanitised, and may therefore hold any characters."""
        fields_by_name = self.load_fields.items()
        return frozenset(
            field.data_key or name for name, field in fields_by_name if isinstance(field, Message)
        )

    def parse(self, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
        """Return the loaded `values`.

        It loads the fields itself: `load` of marshmallow takes four times as long, and does not
        keep the order of the faults.

        Args:
            values: The values by name.
            place: A prefix of field names in error texts, such as ``[3].``.

        Raises:
            InvalidInput: One or more values are invalid, missing or unknown.
        """
        loaded: dict[str, Any] = {}
        faults: list[str] = []
        for attribute, field in self.load_fields.items():
            name = field.data_key or attribute
            try:
                value = field.deserialize(values.get(name, missing), name, values)
            except ValidationError as error:
                faults.extend(f"Invalid {place}{fault}" for fault in _labelled_faults(name, error))
            else:
                if value is not missing:
                    loaded[attribute] = value
        unknown = [name for name in values if name not in self._names]
        faults.extend(f"Unknown field: {place}{sanitise(name)[:100]}" for name in unknown)
        if faults:
            raise InvalidInput(*faults)
        return loaded

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        """The names that values may have."""
        return frozenset(field.data_key or name for name, field in self.load_fields.items())


def _labelled_faults(name: str, error: ValidationError) -> list[str]:
    """Return the faults of a field, or of its parts."""
    if isinstance(error.messages, dict):
        return [f"{name}.{part}: {texts[0]}" for part, texts in error.messages.items()]
    return [f"{name}: {error.messages[0]}"]


class WholeNumber(fields.Field[int]):
    """An integer between two bounds; ``true`` and ``1.0`` are no integers."""

    def __init__(self, low: int, high: int, *, phrase: str | None = None, **options: Any) -> None:
        super().__init__(
            error_messages=must(phrase or f"be an integer from {low} to {high}"),
            **with_schema(options, type="integer", minimum=low, maximum=high),
        )
        self.low = low
        self.high = high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int or not self.low <= value <= self.high:
            raise self.make_error("invalid")
        return value


class QueryNumber(WholeNumber):
    """A WholeNumber written in a query string."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise self.make_error("invalid")
        return super()._deserialize(int(value), attr, data, **kwargs)


class Document(fields.Field[dict[str, Any]]):
    """Any JSON object."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be an object"),
            **with_schema(options, type="object", additionalProperties=True),
        )

    def _deserialize(
        self,
        value: Any,
        attr: str | None,
        data: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        return value


class Id(fields.Field[uuid.UUID]):
    """A UUID of any version, in the form of 36 characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be a UUID"),
            **with_schema(options, type="string", format="uuid"),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> uuid.UUID:
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise self.make_error("invalid")
        return uuid.UUID(value)


class Timestamp(fields.Field[datetime]):
    """An ISO 8601 date and time with any offset; without an offset it is UTC."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be an ISO 8601 timestamp such as 2024-01-01T10:00:00.000Z"),
            **with_schema(options, type="string", format="date-time"),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        try:
            if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value.upper()):
                raise self.make_error("invalid")
            moment = datetime.fromisoformat(value.upper())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.make_error("invalid") from None


class QueryTimestamp(Timestamp):
    """A Timestamp in a query string, where an unescaped plus sign arrives as a space."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if isinstance(value, str) and "T" in value.upper():
            value = value.replace(" ", "+")
        return super()._deserialize(value, attr, data, **kwargs)


class Choice(fields.Field[str]):
    """One of a few strings."""

    def __init__(self, *choices: str, **options: Any) -> None:
        values = [str(choice) for choice in choices] + [None] * bool(options.get("allow_none"))
        super().__init__(
            error_messages=must(f"be one of {', '.join(choices)}"),
            **with_schema(options, type="string", enum=values),
        )
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise self.make_error("invalid")
        return value


class Choices(Choice):
    """Several of a few strings, separated by commas."""

    def __init__(self, *choices: str, **options: Any) -> None:
        super().__init__(*choices, **options)
        one = {name: self.metadata[name] for name in ("type", "enum")}
        own = options.get("metadata", {})
        self.metadata = {"type": "array", "items": one, "minItems": 1, **own}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return [
            super(Choices, self)._deserialize(part.strip(), attr, data, **kwargs)
            for part in value.split(",")
        ]


class Pattern(fields.Field[str]):
    """A string that matches a regular expression and holds no credential."""

    def __init__(self, pattern: str, *, phrase: str, **options: Any) -> None:
        super().__init__(
            error_messages=must(phrase),
            **with_schema(options, type="string", pattern=f"^{pattern}$"),
        )
        self.pattern = re.compile(pattern, re.ASCII)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not self.pattern.fullmatch(value):
            raise self.make_error("invalid")
        if holds_secret(value):
            raise ValidationError("must not hold a credential")
        return value


class StorableText(fields.Field[str]):
    """Any string that PostgreSQL can store; for comparison with stored values."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be UTF-8 text without NUL characters"),
            **with_schema(options, type="string"),
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or _UNSTORABLE.search(value):
            raise self.make_error("invalid")
        return value


class StrictBoolean(fields.Field[bool]):
    """``true`` or ``false``; numbers that Python takes for equal are refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            error_messages=must("be true or false"), **with_schema(options, type="boolean")
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class ListOf(fields.Field[list[str]]):
    """A list of distinct values, each accepted by the field `item`; null, if allowed, means all."""

    def __init__(self, item: fields.Field[str], phrase: str, **options: Any) -> None:
        super().__init__(
            error_messages=must(f"be null or a list of 1 to {MAX_CHOICES} {phrase}"),
            **with_schema(
                options, type="array", items=item.metadata, minItems=1, maxItems=MAX_CHOICES
            ),
        )
        self.item = item

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_CHOICES:
            raise self.make_error("invalid")
        try:
            values = [str(self.item.deserialize(one, attr, data, **kwargs)) for one in value]
        except ValidationError:
            raise self.make_error("invalid") from None
        return list(dict.fromkeys(values))


class ListOfInQuery(ListOf):
    """A ListOf in a query string, separated by commas."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str]:
        return super()._deserialize(
            [part.strip() for part in value.split(",")], attr, data, **kwargs
        )


class Message(fields.Field[str]):
    """A string of any characters, sanitised before it is stored."""

    safe = staticmethod(sanitise)

    def __init__(self, **options: Any) -> None:
        super().__init__(error_messages=must("be a string"), **with_schema(options, type="string"))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        return self.safe(value)


class Name(Message):
    """A short name of one line, sanitised before it is stored."""

    safe = staticmethod(one_line)

    def __init__(self, max_length: int = 200, **options: Any) -> None:
        super().__init__(**with_schema(options, minLength=1, maxLength=max_length))
        self.error_messages.update(must(f"be 1 to {max_length} visible characters"))
        self.max_length = max_length

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = super()._deserialize(value, attr, data, **kwargs)
        if not 1 <= len(name) <= self.max_length:
            raise self.make_error("invalid")
        return name


def is_id(text: str) -> bool:
    """Return whether `text` is a UUID in the form of 36 characters."""
    return _UUID.fullmatch(text) is not None


def parse_id(text: str, name: str = "id") -> uuid.UUID:
    """Return the UUID of the path parameter `name`. Raises InvalidInput."""
    if not _UUID.fullmatch(text):
        raise InvalidInput(f"Invalid {name}: must be a UUID")
    return uuid.UUID(text)


def object_of(body: Any, name: str = "body") -> Mapping[str, Any]:
    """Return `body`, called `name` in the error text. Raises InvalidInput if it is no object."""
    if not isinstance(body, dict):
        raise InvalidInput(f"Invalid {name}: must be a JSON object")
    return body
