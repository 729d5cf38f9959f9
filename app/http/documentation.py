"""Documentation of endpoints, beside the route: what an endpoint takes, answers and refuses.

`@documented` stores it as an attribute of the view, like `@operation`. `app.openapi` makes the
OpenAPI document of it, and adds what follows from the route, the method and the operation: path
parameters, scopes, rate limits, idempotency keys, and the failures that come with them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from marshmallow import EXCLUDE, Schema, fields

from app.errors import InvalidInput, ScrapeJobError
from app.http.response import JSON

View = TypeVar("View", bound=Callable[..., object])

_ATTRIBUTE = "documentation"


class AnswerSchema(Schema):
    """The form of an object in answers. Each field is always present, except the optional ones.

    `title` is its name in the OpenAPI document. Later versions may add fields.
    """

    class Meta:
        """Marshmallow's options."""

        unknown = EXCLUDE

    title: ClassVar[str] = ""
    optional: ClassVar[Collection[str]] = ()
    example: ClassVar[Mapping[str, Any]] = {}

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Require the field unless it is optional."""
        field_obj.required = field_name not in self.optional


@dataclass(frozen=True, slots=True)
class Header:
    """A header of requests or responses; `schema` is its JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any]
    is_always_sent: bool = False


@dataclass(frozen=True, slots=True)
class Success:
    """A successful answer in the common form, ``{"success": true, "data": …}``.

    Attributes:
        data: The form of `data`; None if it is null.
        status: The HTTP status.
        message: The value of ``message``, which the answer lacks without it.
        headers: Response headers beside those that all answers have.
        is_list: Whether `data` is a list of objects of this form.
        is_page: Whether `data` is such a list, and the answer has ``pagination``.
        changes: The fields by which `data` differs from the example of the schema.
        name: The name of the example.
        query: The query of the request that the example answers.
        counts: The form of ``counts``, in an answer about many jobs. It has ``has_more``, too.
    """

    data: Schema | None
    status: int = 200
    message: str | None = None
    headers: Sequence[Header] = ()
    is_list: bool = False
    is_page: bool = False
    changes: Mapping[str, Any] | None = None
    name: str = "success"
    query: Mapping[str, str] = field(default_factory=dict)
    counts: AnswerSchema | None = None

    def example(self) -> Any:
        """Return the example of `data`."""
        if self.data is None:
            return None
        shown = {**getattr(self.data, "example", {}), **(self.changes or {})}
        return [shown] if self.is_list or self.is_page else shown


@dataclass(frozen=True, slots=True)
class Content:
    """An answer that has not the common form: a text, a document, or nothing at all.

    Attributes:
        description: What the answer is.
        status: The HTTP status.
        media_type: The media type; None if there is no body.
        schema: The JSON Schema of the body.
        example: An example of the body.
        headers: Response headers beside those that all answers have.
        is_endless: Whether the body has no end: a client reads it piece by piece.
    """

    description: str
    status: int = 200
    media_type: str | None = None
    schema: Mapping[str, Any] | None = None
    example: Any = None
    headers: Sequence[Header] = ()
    is_endless: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """The body that an endpoint takes.

    Attributes:
        schema: The fields.
        examples: Examples by name.
        media_type: The media type.
        is_optional: Whether the endpoint takes a request without a body.
        max_batch: The most objects of an array that may come instead of one; None for no array.
        echoes: The form of an answer, whose other fields may come along as they were read.
    """

    schema: Schema
    examples: Mapping[str, Any]
    media_type: str = JSON
    is_optional: bool = False
    max_batch: int | None = None
    echoes: Schema | None = None


@dataclass(frozen=True, slots=True)
class Documentation:
    """The documentation of one endpoint; see `documented`."""

    answers: Sequence[Success | Content]
    query: Schema | None
    body: Body | None
    headers: Sequence[Header]
    raises: Sequence[ScrapeJobError]

    @property
    def is_endless(self) -> bool:
        """Whether the body of a successful answer has no end."""
        return any(isinstance(answer, Content) and answer.is_endless for answer in self.answers)


def documented(
    *answers: Success | Content,
    query: Schema | None = None,
    body: Body | None = None,
    headers: Sequence[Header] = (),
    raises: Sequence[ScrapeJobError] = (),
) -> Callable[[View], View]:
    """Document an endpoint. The first line of the view's docstring is the summary.

    Args:
        answers: The successful answers.
        query: The query parameters.
        body: The body that the endpoint takes.
        headers: Request headers beside those that all endpoints take.
        raises: An exception for each failure that does not follow from the route and the
            operation. Its status and text come from the table in `app.http.errors`.
    """

    def declare(view: View) -> View:
        setattr(view, _ATTRIBUTE, Documentation(answers, query, body, headers, raises))
        return view

    return declare


def invalid(schema: Schema, name: str) -> InvalidInput:
    """Return the failure of a request in which the field `name` of `schema` has a wrong value."""
    return InvalidInput(f"Invalid {name}: {schema.load_fields[name].error_messages['invalid']}")


def documentation_of(view: Callable[..., object]) -> Documentation | None:
    """Return the documentation of a view, or None if it has none."""
    found: Documentation | None = getattr(view, _ATTRIBUTE, None)
    return found
