"""Finds credentials by the name before them, such as `password=…`, in prose, code, JSON, YAML, logs
and query strings.

Error texts are full of such names without a credential behind them: XPath and CSS selectors,
messages of parsers and validators, lines of source code. Each function looks at a bounded part of
the text, which keeps masking linear.
"""

import re

Span = tuple[int, int]

SPACE = r"[^\S\n]"  # of any width, but no line break
QUOTE = r"""\\{0,3}["']"""
LOOK_BEHIND = 64
LOOK_AHEAD = 120

NAME = (
    r"(?i:(?:api|access|account|secret|private|signing|encryption)[_-]?key|passw(?:or)?d|passphrase|pwd"
    r"|secret(?:s|string|value|token|accesskey|[_-][\w-]{0,20})?|token|x-(?:amz|goog)-signature|(?<=[?&])sig)"
)
LABEL = re.compile(
    rf"""(?x)
    (?P<name> {NAME} )
    (?P<close> (?:{QUOTE})?+ \]? )
    (?P<gap> {SPACE}* )
    (?P<sign> => | := | = (?! ={{1,2}}\s | ~\s ) | : (?! : | // ) )
    (?P<after> {SPACE}* )
    (?: \[ {SPACE}* )?
    (?: [bruBRU]{{1,2}} (?=["']) )?
    """
)
"""A name of a credential with the sign between it and its value, in every common notation."""

_OPENING = re.compile(QUOTE)
_CONTENT = {
    quote: re.compile(rf"""(?:{quote}(?=\w))?(?:[^{quote}\\\n]|\\.)*+""") for quote in "\"'"
}
_ESCAPED_CONTENT = re.compile(r"""[^"'\\\n]*+""")
# A value without quotes ends at a space, a tag, the next parameter or pair, or the quote around it
# all.
_BARE = re.compile(
    rf"""(?x)
    (?:
        [^\s&<>"'\\,;]
        | [,;] (?! {SPACE}*+ ["']?[\w.\ -]{{1,40}}["']?{SPACE}{{0,8}}[:=] | \s | $ )
        | ["'] (?! [\s,;:.)\]}}>] | $ )
        | \\ (?! ["'nrt\\] )
    )++
    """
)

# Words with which a message or a piece of code goes on where a credential could stand.
_WORDS = (
    "a an and any are as async at await be bool boolean bytes can cannot could denied did do does either else empty"
    " ensure error expected expired expires failed false field for found from function given has have if in incorrect"
    " input int integer invalid is it lambda length may mismatch missing must new nil no none not null number object of"
    " on only optional or please provided rejected required return self should some str string terminal than that the"
    " this to too true typeof undefined unexpected unknown unset value was were when will with without wrong yes"
    " yield you your"
)
_PROSE = re.compile(
    rf"""(?i)(?:{_WORDS.replace(" ", "|")}|(?:can|don|isn|doesn|wasn)'t|(?:Optional|Union|List)\[)"""
    rf"""(?:(?<=\[)|(?=[.,;:!?)\]}}"']*(?:\s|$)))"""
)
_QUOTED_PROSE = re.compile(
    r"(?i)(?:(?:this|the|must|is|was|field|required|invalid|incorrect|wrong|missing|cannot|please|should|too|not|no|may"
    r"|ensure|value|enter|your|expected)[ ,:]+\w"
    r"|(?:required|invalid|missing|incorrect|expired|wrong|string|str|null|none|nil|undefined|true|false|yes|no)[.!]?$)"
)
_PLACEHOLDER = re.compile(
    r"""(?:\$?\{\{?[\w. -]*\}?\}|<[\w.-]+>?|%\(?\w*\)?[sdrv]|\$[A-Z_]+|\*{3,}|\[\w+\])[,;.)\]}"']*$"""
)
_COLLECTION = re.compile(r"""\{\s*(?:["']|$|\w+\s*:|\}(?:[\s,;)]|$))|\(\s*["']""")
_ROOTS = "self|this|cls|os|sys|process|settings|config|conf|cfg|env|environ|req|request|res|resp|response|args|kwargs"
_CODE = re.compile(
    rf"""(?x)
    (?: (?:{_ROOTS}|opts|options|ctx|context|props|params) \.[A-Za-z_]\S*
      | [A-Za-z_]+(?:\.[A-Za-z_]+)* \[(?:["'][\w-]+["']|[0-9]+|[A-Za-z_]+)\] [\w.()\[\],;"']*
      | [A-Za-z_]\w* (?:\.[A-Za-z_]\w*)+ \( \S*
    )$"""
)
_CALL = re.compile(r"""[A-Za-z_]\w*\((?:["'A-Za-z_*][\w.*"'-]*)?[,)]?[\w.()\[\],;]*$""")
_PATH = re.compile(r"[/~]|\./|[A-Za-z]:[\\/]|\\\\")
_SELECTOR = re.compile(r"(?:[\w\])*]\[|\[data-)[\w.$-]*\Z")  # of XPath or CSS
_PARSERS_WORD = re.compile(
    r"(?i)\b(?:unexpected|expected|illegal|invalid|unknown|bad|stray|near|before|after|got|found|syntax)\s+\Z"
)
_RANDOM = re.compile(r"(?=[^\s\d]*\d)\S{8,}|\S{20,}")


def value_of(text: str, label: re.Match[str]) -> Span | None:
    """Return where the credential behind `label` (a match of LABEL) stands in `text`, or None if
    there is none."""
    start = label.end()
    before, prefix = _context(text, label.start())
    if _is_reference(before, prefix, label):
        return None
    opening = _OPENING.match(text, start)
    if opening:
        found = quoted(text, opening)
        is_credential = _is_quoted_credential(text[found[0] : min(found[1], found[0] + LOOK_AHEAD)])
    else:
        head = text[start : start + LOOK_AHEAD]
        is_credential = _is_bare_credential(head, prefix, label)
        found = bare(text, start) if is_credential else (start, start)
    if not is_credential or found[0] == found[1]:
        return None
    return (
        found if _is_meant(text[found[0] : found[0] + LOOK_AHEAD], before, prefix, label) else None
    )


def quoted(text: str, opening: re.Match[str]) -> Span:
    """Return where the content of the string stands whose quote is `opening`."""
    quote = opening[0]
    content = (_CONTENT[quote] if len(quote) == 1 else _ESCAPED_CONTENT).match(text, opening.end())
    return opening.end(), content.end() if content else opening.end()


def bare(text: str, start: int) -> Span:
    """Return where the value without quotes stands that begins at `start`."""
    found = _BARE.match(text, start)
    end = found.end() if found else start
    for _ in range(3):  # brackets around the pair
        closing = text[end - 1 : end]
        if (
            end - 1 <= start
            or closing not in ")]}"
            or "([{"[")]}".index(closing)] in text[start:end]
        ):
            break
        end -= 1
    return start, end


def is_prose(head: str) -> bool:
    """Return whether `head` goes on as a message does, or as code, and not with a credential."""
    return _PROSE.match(head) is not None or _PLACEHOLDER.match(_word(head)) is not None


def _context(text: str, start: int) -> tuple[str, str]:
    """Return what stands before the identifier in which the name is found, and the beginning of
    that identifier."""
    behind = text[max(0, start - LOOK_BEHIND) : start]
    before = re.sub(r"[\w.$-]*\Z", "", behind)
    return before, behind[len(before) :]


def _word(head: str) -> str:
    found = re.match(r"\S*", head)
    return found[0] if found else ""


def _is_reference(before: str, prefix: str, label: re.Match[str]) -> bool:
    """Return whether the name is an attribute in a selector, a file, a resource or a parameter of a
    function."""
    sign, close = label["sign"], label["close"]
    if sign == "=>":
        return not close and not before.endswith(
            ":"
        )  # a function in JavaScript, and no symbol in Ruby
    if close.endswith("]"):
        return sign == ":"  # a pseudo-class in CSS
    if sign == "=":
        return before.endswith("@") or _SELECTOR.search(before + prefix) is not None
    return not close and (
        before.endswith(("/", "\\")) or re.search(r"\barn:\S*\Z", before) is not None
    )


def _is_quoted_credential(content: str) -> bool:
    return re.search(r"\w", content) is not None and not (
        _QUOTED_PROSE.match(content)
        or _PLACEHOLDER.match(content)
        or re.fullmatch(r"\{[\w.]+\}", content)
    )


def _is_bare_credential(head: str, prefix: str, label: re.Match[str]) -> bool:
    word = _word(head)
    if not re.search(r"\w", word) or is_prose(head) or _COLLECTION.match(head) or _CODE.match(word):
        return False
    if (label["gap"] or label["after"]) and _CALL.match(word):
        return False
    if label["name"].lower() == "pwd" and _PATH.match(word):
        return False
    return not _names_itself(word.lower(), prefix.lower(), label["name"].lower())


def _names_itself(word: str, prefix: str, name: str) -> bool:
    """Return whether `word` is a variable of the same name, as in `login(token=token,
    password=db.password)`."""
    variable = word.rstrip(",;)]}")
    if variable in (name, prefix + name):
        return True
    return (
        word.endswith((",", ")"))
        and variable.endswith((f"_{name}", f".{name}"))
        and not re.search(r"[^a-z_.]", variable)
    )


def _is_meant(head: str, before: str, prefix: str, label: re.Match[str]) -> bool:
    """Return whether a `token` is one of authentication, and not one of a grammar."""
    if label["name"].lower() != "token" or label["close"] or prefix:
        return True
    is_random = _RANDOM.match(head) is not None
    if label["sign"] == ":":
        return is_random
    return is_random or not (label["gap"] and _PARSERS_WORD.search(before))
