"""Finds credentials by their name, as in `password=…`: in prose, code, JSON, YAML, logs and URLs.

Error texts contain many such names without a credential: in XPath and CSS selectors, messages of
parsers and validators, and lines of source code. Those must stay readable. Each function reads a
bounded part of the text, so that masking takes linear time.
"""

import re

TextSpan = tuple[int, int]
"""The start and the end of a part of a text."""

# One space of any kind, but not a line break.
SPACE = r"[^\S\n]"
# A quotation mark, which up to three backslashes may escape.
QUOTE = r"""\\{0,3}["']"""
LOOK_BEHIND = 64
"""Number of characters before a name that decide whether it names a credential."""
LOOK_AHEAD = 120
"""Number of characters of a value that decide whether it is a credential."""

# A name of a credential, in any case: a key, a password, a secret, a token or a signature.
NAME = (
    r"(?i:(?:api|access|account|secret|private|signing|encryption)[_-]?key|passw(?:or)?d"
    r"|passphrase|pwd"
    r"|secret(?:s|string|value|token|accesskey|[_-][\w-]{0,20})?|token"
    r"|x-(?:amz|goog)-signature|(?<=[?&])sig)"
)
# A name of a credential with the sign between it and its value, in every common notation.
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

# A quotation mark that opens a value.
_OPENING = re.compile(QUOTE)
# The content of a quoted string, up to the closing mark or the end of the line.
_CONTENT = {
    quote: re.compile(rf"""(?:{quote}(?=\w))?(?:[^{quote}\\\n]|\\.)*+""") for quote in "\"'"
}
# The content of a string between escaped quotation marks.
_ESCAPED_CONTENT = re.compile(r"""[^"'\\\n]*+""")
# A value without quotation marks: it ends at a space, a tag, the next parameter or pair, or the
# quotation mark around the whole pair.
_UNQUOTED = re.compile(
    rf"""(?x)
    (?:
        [^\s&<>"'\\,;]
        | [,;] (?! {SPACE}*+ ["']?[\w.\ -]{{1,40}}["']?{SPACE}{{0,8}}[:=] | \s | $ )
        | ["'] (?! [\s,;:.)\]}}>] | $ )
        | \\ (?! ["'nrt\\] )
    )++
    """
)

# Words of messages and code that follow a name in place of a credential.
_WORDS = (
    "a an and any are as async at await be bool boolean bytes can cannot could denied did do"
    " does either else empty ensure error expected expired expires failed false field for found"
    " from function given has have if in incorrect input int integer invalid is it lambda"
    " length may mismatch missing must new nil no none not null number object of on only"
    " optional or please provided rejected required return self should some str string terminal"
    " than that the this to too true typeof undefined unexpected unknown unset value was were when"
    " will with without wrong yes yield you your"
)
# The beginning of a value that is one of those words, a contraction, or a generic type.
_PROSE = re.compile(
    rf"""(?i)(?:{_WORDS.replace(" ", "|")}|(?:can|don|isn|doesn|wasn)'t"""
    r"""|(?:Optional|Union|List)\[)"""
    rf"""(?:(?<=\[)|(?=[.,;:!?)\]}}"']*(?:\s|$)))"""
)
# The beginning of a quoted value that is a message, or a whole value such as "required" or "null".
_QUOTED_PROSE = re.compile(
    r"(?i)(?:(?:this|the|must|is|was|field|required|invalid|incorrect|wrong|missing|cannot|please"
    r"|should|too|not|no|may|ensure|value|enter|your|expected)[ ,:]+\w"
    r"|(?:required|invalid|missing|incorrect|expired|wrong|string|str|null|none|nil|undefined|true"
    r"|false|yes|no)[.!]?$)"
)
# A placeholder of a template, a format string or a shell, or a mask of asterisks.
_PLACEHOLDER = re.compile(
    r"""(?:\$?\{\{?[\w. -]*\}?\}|<[\w.-]+>?|%\(?\w*\)?[sdrv]|\$[A-Z_]+|\*{3,}|\[\w+\])"""
    r"""[,;.)\]}"']*$"""
)
# The beginning of a dictionary, an object or a tuple.
_COLLECTION = re.compile(r"""\{\s*(?:["']|$|\w+\s*:|\}(?:[\s,;)]|$))|\(\s*["']""")
# Variables that code reads credentials from.
_ROOTS = (
    "self|this|cls|os|sys|process|settings|config|conf|cfg|env|environ|req|request|res|resp"
    "|response|args|kwargs"
)
# An expression in code: an attribute of such a variable, an item by index, or a method call.
_CODE = re.compile(
    rf"""(?x)
    (?: (?:{_ROOTS}|opts|options|ctx|context|props|params) \.[A-Za-z_]\S*
      | [A-Za-z_]+(?:\.[A-Za-z_]+)* \[(?:["'][\w-]+["']|[0-9]+|[A-Za-z_]+)\] [\w.()\[\],;"']*
      | [A-Za-z_]\w* (?:\.[A-Za-z_]\w*)+ \( \S*
    )$"""
)
# A function call.
_CALL = re.compile(r"""[A-Za-z_]\w*\((?:["'A-Za-z_*][\w.*"'-]*)?[,)]?[\w.()\[\],;]*$""")
# The beginning of a path of a file.
_PATH = re.compile(r"[/~]|\./|[A-Za-z]:[\\/]|\\\\")
# The beginning of an attribute in a selector of XPath or CSS.
_SELECTOR = re.compile(r"(?:[\w\])*]\[|\[data-)[\w.$-]*\Z")
# A word that messages of parsers put before the word "token".
_PARSER_WORD = re.compile(
    r"(?i)\b(?:unexpected|expected|illegal|invalid|unknown|bad|stray|near|before|after|got|found"
    r"|syntax)\s+\Z"
)
# A value that looks random: 8 or more characters with a digit, or 20 or more characters.
_RANDOM = re.compile(r"(?=[^\s\d]*\d)\S{8,}|\S{20,}")


def value_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the credential in `text` after `label`, a match of LABEL, or None."""
    start = label.end()
    before, prefix = _context(text, label.start())
    if _is_reference(before, prefix, label):
        return None
    opening = _OPENING.match(text, start)
    if opening:
        found = quoted_span(text, opening)
        is_credential = _is_quoted_credential(text[found[0] : min(found[1], found[0] + LOOK_AHEAD)])
    else:
        head = text[start : start + LOOK_AHEAD]
        is_credential = _is_bare_credential(head, prefix, label)
        found = unquoted_span(text, start) if is_credential else (start, start)
    if not is_credential or found[0] == found[1]:
        return None
    return (
        found
        if _means_authentication(text[found[0] : found[0] + LOOK_AHEAD], before, prefix, label)
        else None
    )


def quoted_span(text: str, opening: re.Match[str]) -> TextSpan:
    """Return the span of the content of the string that the quotation mark `opening` opens."""
    quote = opening[0]
    content = (_CONTENT[quote] if len(quote) == 1 else _ESCAPED_CONTENT).match(text, opening.end())
    return opening.end(), content.end() if content else opening.end()


def unquoted_span(text: str, start: int) -> TextSpan:
    """Return the span of the value without quotation marks that begins at `start`."""
    found = _UNQUOTED.match(text, start)
    end = found.end() if found else start
    for _ in range(3):  # a closing bracket belongs to the text around, unless it was opened here
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
    """Return whether `head` continues a message or code, and does not begin with a credential."""
    return _PROSE.match(head) is not None or _PLACEHOLDER.match(_word(head)) is not None


def _context(text: str, start: int) -> tuple[str, str]:
    """Return the text before the identifier with the name, and its part before the name."""
    behind = text[max(0, start - LOOK_BEHIND) : start]
    before = re.sub(r"[\w.$-]*\Z", "", behind)
    return before, behind[len(before) :]


def _word(head: str) -> str:
    found = re.match(r"\S*", head)
    return found[0] if found else ""


def _is_reference(before: str, prefix: str, label: re.Match[str]) -> bool:
    """Return whether the name is an attribute in a selector, a path, a resource or a parameter."""
    sign, close = label["sign"], label["close"]
    if sign == "=>":
        return not close and not before.endswith(
            ":"
        )  # an arrow function in JavaScript, not a symbol in Ruby
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
    """Return whether `word` is a variable of the same name, as in `login(token=token)`."""
    variable = word.rstrip(",;)]}")
    if variable in (name, prefix + name):
        return True
    return (
        word.endswith((",", ")"))
        and variable.endswith((f"_{name}", f".{name}"))
        and not re.search(r"[^a-z_.]", variable)
    )


def _means_authentication(head: str, before: str, prefix: str, label: re.Match[str]) -> bool:
    """Return whether a name `token` means authentication, and not a token of a grammar."""
    if label["name"].lower() != "token" or label["close"] or prefix:
        return True
    is_random = _RANDOM.match(head) is not None
    if label["sign"] == ":":
        return is_random
    return is_random or not (label["gap"] and _PARSER_WORD.search(before))
