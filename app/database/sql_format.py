"""The format of SQL for readers: one clause, list item or condition per line, at most 100 columns.

Only white space changes: the words of a statement stay as they are, in their order. Two texts that
differ in white space alone have the same format, so a difference between two formatted statements
is a difference of the SQL.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

WIDTH = 100
INDENT = "    "

_CLOSERS = {"(": ")", "[": "]", "CASE": "END"}
_QUERIES = frozenset({"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "VALUES"})
_CLAUSE = re.compile(
    "SELECT|FROM|WHERE|GROUP|HAVING|WINDOW|ORDER|LIMIT|UNION|INSERT|UPDATE|DELETE|SET|VALUES|USING"
    "|RETURNING|ON|JOIN|LEFT|CROSS|FULL|FOR"
)
_CLAUSE_GOES_ON = re.compile("(DISTINCT|DELETE) FROM|(DO|KEY|FOR) UPDATE|(LEFT|CROSS|FULL) JOIN")
"""Pairs of words of which the second does not begin a clause."""

_PART_OF_JOIN = re.compile(r"ON (?!CONFLICT).*|USING \(")
"""ON or USING as a part of JOIN, with the next word."""

_CONDITIONS = (("WHEN", "ELSE"), ("THEN",), ("OR",), ("AND",))
"""The words before which an expression is broken, by ascending precedence."""

_TOKEN = re.compile(
    r"""(?P<space>\s*)(?P<text>--[^\n]*
        | [()\[\],]
        | (?: %\(\w+\)s | '(?:[^']|'')*' | "[^"]*" | (?!--)[^\s()\[\],'"] )+ )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class SqlToken:
    """A word, a string, a comma or a comment; `spaced` means that white space comes before it."""

    text: str
    spaced: bool

    @property
    def is_comment(self) -> bool:
        """Whether the line has to end after it."""
        return self.text.startswith("--")


@dataclass(frozen=True, slots=True)
class SqlGroup:
    """Parentheses, brackets, or CASE and END, with the items between them."""

    opener: SqlToken
    items: "list[Item]"
    closer: SqlToken


Item = SqlToken | SqlGroup


def format_sql(sql: str) -> str:
    """Return `sql` with line breaks and indentation by its structure."""
    return "\n".join(_layout(_parse(iter(_tokens(sql)), None)[0], 0))


def _tokens(sql: str) -> list[SqlToken]:
    return [
        SqlToken(match["text"].rstrip(), bool(match["space"]))
        for match in _TOKEN.finditer(sql.strip())
    ]


def _parse(tokens: Iterator[SqlToken], closer: str | None) -> tuple[list[Item], SqlToken]:
    """Return the items up to the word `closer`, and that word."""
    items: list[Item] = []
    for token in tokens:
        if token.text == closer:
            return items, token
        if token.text in _CLOSERS:
            items.append(SqlGroup(token, *_parse(tokens, _CLOSERS[token.text])))
        else:
            items.append(token)
    return items, SqlToken("", spaced=False)


def _inline(items: list[Item]) -> str:
    """Return the items on one line."""
    text = ""
    for item in items:
        opener = _opener(item)
        text += (" " if opener.spaced and text else "") + opener.text
        if isinstance(item, SqlGroup):
            inner, is_case = _inline(item.items), opener.text == "CASE"
            text += f" {inner} END" if is_case else f"{inner}{item.closer.text}"
    return text


def _has_comment(items: list[Item]) -> bool:
    return any(
        _has_comment(item.items) if isinstance(item, SqlGroup) else item.is_comment
        for item in items
    )


def _fits(items: list[Item], column: int) -> bool:
    return not _has_comment(items) and column + len(_inline(items)) <= WIDTH


def _layout(items: list[Item], level: int) -> list[str]:
    """Return the lines of a query, a list or an expression."""
    if _fits(items, len(INDENT) * level):
        return [INDENT * level + _inline(items)]
    if _words(items)[:1] and _words(items)[0] in _QUERIES:
        clauses = _split(items, _begins_clause)
        return [line for clause in clauses for line in _clause(clause, level)]
    return _list(items, level)


def _clause(items: list[Item], level: int) -> list[str]:
    """Return the lines of one clause, such as WHERE with its conditions."""
    if _fits(items, len(INDENT) * level):
        return [INDENT * level + _inline(items)]
    if isinstance(first := items[0], SqlToken) and first.is_comment:
        return [INDENT * level + first.text, *(_clause(items[1:], level) if items[1:] else [])]
    if _opener(first).text == "WITH":
        return [line for cte in _parts(items) for line in _expression(cte, level)]
    parts = _parts(items)
    if len(parts) == 1:
        return _expression(items, level)
    lead = next(
        (place for place, item in enumerate(parts[0]) if not _is_keyword(item)), len(parts[0])
    )
    lines = _expression(parts[0][:lead], level) if lead else []
    rest = [parts[0][lead:], *parts[1:]]
    return lines + [line for part in rest if part for line in _expression(part, level + 1)]


def _list(items: list[Item], level: int) -> list[str]:
    """Return the lines of a list in parentheses; names share lines, other items do not."""
    parts = _parts(items)
    if len(parts) == 1:
        return _expression(items, level, None if "WHEN" in _words(items) else level)
    if all(isinstance(item, SqlToken) and not item.is_comment for item in items):
        return _filled(items, level, level)
    return [line for part in parts for line in _expression(part, level)]


def _expression(items: list[Item], level: int, continued: int | None = None) -> list[str]:
    """Return the lines of one expression: its conditions one a line, or its parentheses opened.

    The lines after the first have the level `continued`, by default one more than `level`.
    """
    continued = level + 1 if continued is None else continued
    if _fits(items, len(INDENT) * level):
        return [INDENT * level + _inline(items)]
    for words in _CONDITIONS:
        first, *others = _split(items, partial(_begins_condition, words))
        if others:
            level_of_others = level if "WHEN" in words else continued
            return _expression(first, level) + [
                line for chunk in others for line in _expression(chunk, level_of_others)
            ]
    return _filled(items, level, level + 1)


def _filled(items: list[Item], level: int, continued: int) -> list[str]:
    """Return lines that are filled up to the width; a group that does not fit is opened."""
    lines: list[str] = []
    line = ""
    indent = INDENT * level

    def flush(next_level: int) -> None:
        nonlocal line, indent
        if line.strip():
            lines.append(line)
            indent = INDENT * next_level
        line = ""

    for place, item in enumerate(items):
        opener = _opener(item)
        space = " " if opener.spaced and line.strip() else ""
        if isinstance(item, SqlToken) and item.is_comment:
            flush(level)
            lines.append(indent + item.text)
        elif not opener.spaced and isinstance(item, SqlToken):
            line = (line or indent) + item.text
        elif _fits(_unbreakable(items, place), len(line or indent) + len(space)):
            line = (line or indent) + space + _inline([item])
        elif isinstance(item, SqlGroup):
            lines.append((line or indent) + space + opener.text)
            lines += _layout(item.items, level + 1)
            line = INDENT * level + item.closer.text
        else:
            flush(continued)
            line = indent + item.text
    flush(level)
    return lines


def _unbreakable(items: list[Item], place: int) -> list[Item]:
    """Return the item at `place` and those on the same line: commas, and the name after AS."""
    end = place + 1
    if _opener(items[place]).text == "AS" and isinstance(items[end], SqlToken):
        end += 1
    while end < len(items) and not _opener(items[end]).spaced:
        if isinstance(items[end], SqlGroup):
            break
        end += 1
    return items[place:end]


def _opener(item: Item) -> SqlToken:
    return item.opener if isinstance(item, SqlGroup) else item


def _words(items: list[Item]) -> list[str]:
    """Return the first word of each item, comments left out."""
    return [token.text for token in map(_opener, items) if not token.is_comment]


def _is_keyword(item: Item) -> bool:
    return isinstance(item, SqlToken) and item.text.isupper() and item.text.isalpha()


def _begins_clause(before: str, word: str, after: str) -> bool:
    return (
        _CLAUSE.fullmatch(word) is not None
        and _CLAUSE_GOES_ON.fullmatch(f"{before} {word}") is None
        and _PART_OF_JOIN.fullmatch(f"{word} {after}") is None
    )


def _begins_condition(words: tuple[str, ...], _before: str, word: str, _after: str) -> bool:
    return word in words


def _split(items: list[Item], begins: Callable[[str, str, str], bool]) -> list[list[Item]]:
    """Return `items` in parts, each of which begins with a word that `begins` one.

    The comments before that word go with it.
    """
    parts: list[list[Item]] = [[]]
    before, is_between = "", False
    for place, item in enumerate(items):
        word = item.text if isinstance(item, SqlToken) else ""
        after = _opener(items[place + 1]).text if place + 1 < len(items) else ""
        if word == "BETWEEN":
            is_between = True
        if is_between and word == "AND":
            is_between = False
        elif before and begins(before, word, after):
            comments: list[Item] = []
            while parts[-1] and isinstance(last := parts[-1][-1], SqlToken) and last.is_comment:
                comments.insert(0, parts[-1].pop())
            parts.append(comments)
        parts[-1].append(item)
        if not (isinstance(item, SqlToken) and item.is_comment):
            before = word or ")"
    return [part for part in parts if part]


def _parts(items: list[Item]) -> list[list[Item]]:
    """Return `items` in the parts that commas end."""
    parts: list[list[Item]] = [[]]
    for item in items:
        parts[-1].append(item)
        if isinstance(item, SqlToken) and item.text == ",":
            parts.append([])
    return [part for part in parts if part]
