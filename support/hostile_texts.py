"""200 texts with a secret each, and the search for them.

Each text has a credential in one of 20 forms and one of 10 disguises. `faults` finds a piece of any
of the secrets, and control, bidirectional, zero-width and other ignorable characters; newline and
tab are allowed.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import psycopg2

SPLIT = "¦"
"""The place of an invisible character, in names and in the middle of secrets."""


PIECE = re.compile(r"kq[0-9]{3}zwxj|jxwz[0-9]{3}qk", re.IGNORECASE)
"""The beginning or the end of a secret, which occurs in no other text."""


FORMS: Mapping[str, Callable[[int], str]] = {
    "bearer": lambda n: f"Bea¦rer {secret(n, 40)}",
    "authorization": lambda n: f"Authori¦zation: Bearer {secret(n, 40)}",
    "environ": lambda n: (
        f"{{'HTTP_AUTHORI¦ZATION': 'Basic {secret(n, 32, split='')}', 'HTTP_ACCEPT': '*/*'}}"
    ),
    "headers": lambda n: (
        f"HTTPError: 401 for {{'Authori¦zation': 'Bearer {secret(n, 40)}', 'Accept': '*/*'}}"
    ),
    "proxy": lambda n: f"Proxy-Authori¦zation: Basic {secret(n, 32)}",
    "basic": lambda n: f"the server refused Basic {secret(n, 32)}",
    "our key": lambda n: f"the key sjk_a1b2c3d4e5f6_{secret(n, 43)} was refused",
    "our webhook": lambda n: f"signed with whsec_{secret(n, 32)} and refused",
    "password": lambda n: f"pass¦word={secret(n, 24)}",
    "json password": lambda n: f'{{"pass¦word": "{secret(n, 24)}", "user": "bob"}}',
    "url": lambda n: f"fetching https://bob:{secret(n, 24)}@shop.example/list failed",
    "database": lambda n: f"postgresql://bob:{secret(n, 24)}@db.example:5432/jobs",
    "json key": lambda n: f'{{"api¦_key": "{secret(n, 32)}", "page": 2}}',
    "key header": lambda n: f"X-Api¦-Key: {secret(n, 32)}",
    "query": lambda n: f"GET https://shop.example/?access_to¦ken={secret(n, 32)}&page=2",
    "cookie": lambda n: f"Coo¦kie: theme=dark; sid={secret(n, 32)}; lang=en",
    "cookies": lambda n: f"{{'Set-Coo¦kie': 'sid={secret(n, 32)}; Path=/; HttpOnly'}}",
    "aws": lambda n: (
        f"AKIA{f'KQ{n:03d}ZWXJ'}{SPLIT}ABCDEF7 with aws_sec¦ret_access_key = {secret(n, 40)}"
    ),
    "jwt": lambda n: f"session eyJhbGciOiJIUzI1NiJ9.eyJ{secret(n, 40)}.{secret(n, 43)} is over",
    "pem": lambda n: (
        f"-----BEGIN PRIVATE KEY-----\nX-Y: z\n{secret(n, 30)}\n{secret(n, 24)}\n"
        "-----END PRIVATE KEY-----\n"
    ),
}


BARE = ("our key", "our webhook", "aws", "jwt")
"""Forms whose secret is one word with a recognisable format."""


DISGUISES: Mapping[str, tuple[str, str, str]] = {  # before, inside, after
    "none": ("", "", ""),
    "colours": ("\x1b[31m", "\x1b", "\x1b[0m\x1b]0;title\x07"),
    "nul": ("\x00", "\x00", "\x00"),
    "forged line": ("", "", '\r\n{"level": "error", "message": "forged"}\r\n[ERROR] forged\n'),
    "controls": ("\x07", "\x9b", "\x08\x08\x08\x7f\x85\x0b"),
    "direction": ("\u202e\u2066", "\u202d", "\u202c\u2069\u200f\u061c"),
    "zero width": ("\ufeff", "\u200b", "\u200d\u200c\u2060"),
    "soft": ("\u180e", "\u00ad", "\u034f\u2063"),
    "tags": (
        "".join(chr(0xE0000 + ord(letter)) for letter in "hidden"),
        "\U000e0041",
        "\U000e0001\U000e007f",
    ),
    "ignorable": ("\u2028", "\ufe0f", "\U000e0100\u3164\u2029\ufff9"),
}


def secret(number: int, length: int, split: str = SPLIT) -> str:
    """Return a secret of letters and digits whose beginning and end contain `number`."""
    filling = hashlib.sha512(str(number).encode()).hexdigest()[: length - 18]
    middle = len(filling) // 2
    return f"Kq{number:03d}Zwxj{filling[:middle]}{split}{filling[middle:]}jxwZ{number:03d}qK"


@dataclass(frozen=True)
class HostileText:
    """One of the strings."""

    number: int
    form: str
    disguise: str
    text: str

    @property
    def storable(self) -> bool:
        """Whether a JSON document may contain it: PostgreSQL cannot store a NUL character."""
        return self.disguise != "nul"

    @property
    def note(self) -> str:
        """The harmless beginning, which identifies the text after it is stored."""
        return f"note-{self.number:03d}"

    @property
    def word(self) -> str:
        """The text as one word of visible ASCII characters."""
        return re.sub(r"[^!-~]+", "_", self.text)[:240]

    def once(self, use: str) -> dict[str, str]:
        """Return a header with the word as an idempotency key, different for each use."""
        return {"Idempotency-Key": f"{self.word}-{use}"}

    @property
    def bare(self) -> str:
        """The secret alone if its format is recognisable, else the whole text."""
        if self.form not in BARE:
            return self.text
        found = re.search(
            r"(?:sjk_|whsec_|AKIA|eyJ)[A-Za-z0-9_.-]+", re.sub(r"[^!-~ ]+", "", self.text)
        )
        assert found
        return found[0]

    @property
    def header(self) -> bytes:
        """The text as a header's value, without ASCII control characters."""
        return re.sub(rb"[\0-\x1f\x7f]+", b"", self.text.encode())

    @property
    def quoted(self) -> str:
        """The text as a part of a URL."""
        return quote(self.text, safe="")


def strings() -> Iterator[HostileText]:
    number = 0
    for form, make in FORMS.items():
        for disguise, (before, inside, after) in DISGUISES.items():
            text = f"note-{number:03d} {before}{make(number).replace(SPLIT, inside)}{after}"
            yield HostileText(number, form, disguise, text)
            number += 1


STRINGS = list(strings())


# Unicode's Default_Ignorable_Code_Point, as far as the categories do not contain it: fillers and
# variation selectors.
INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


def invisible(text: str) -> str:
    """Return the invisible characters of `text`, except newline and tab."""
    if text.isascii() and text.isprintable():
        return ""
    return "".join(
        sorted(
            c
            for c in set(text) - {"\n", "\t"}
            if unicodedata.category(c) in INVISIBLE_CATEGORIES or IGNORABLE.match(c)
        )
    )


def every_text(text: str) -> Iterator[str]:
    """Yield `text` and, if it is JSON, all strings in it, recursively."""
    yield text
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            document = json.loads(text)
        except ValueError:
            return
        nodes = [document]
        while nodes:
            node = nodes.pop()
            if isinstance(node, str):
                yield from every_text(node)
            elif isinstance(node, list):
                nodes.extend(node)
            elif isinstance(node, dict):
                nodes.extend(node)
                nodes.extend(node.values())


def faults(where: str, text: str) -> list[str]:
    """Return the secrets and invisible characters in `text`, as messages."""
    found = []
    for one in every_text(text):
        invisible_found = invisible(one)
        if invisible_found:
            found.append(f"{where}: unseen {invisible_found!a} in {one[:300]!a}")
        bare = one.translate(dict.fromkeys(map(ord, invisible_found))) if invisible_found else one
        piece = PIECE.search(bare)
        if piece:
            number = int(re.sub(r"\D", "", piece[0]))
            form = (
                f"({STRINGS[number].form}, {STRINGS[number].disguise})"
                if number < len(STRINGS)
                else ""
            )
            context = bare[max(0, piece.start() - 120) : piece.end() + 40]
            found.append(f"{where}: secret {number} {form} in {context!a}")
    return found


def check(faults_found: Sequence[str]) -> None:
    """Fail if there is a fault; show up to three of each place."""
    places: dict[str, list[str]] = {}
    for fault in faults_found:
        places.setdefault(fault.partition(":")[0], []).append(fault)
    shown = [
        f"{len(found)} x {place}\n  " + "\n  ".join(found[:3]) for place, found in places.items()
    ]
    assert not shown, "\n".join(shown)


def database_texts(url: str) -> Iterator[tuple[str, str]]:
    """Yield each value of each table as text; of binary values, the visible ASCII characters."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
            " JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema')"
            " AND t.table_type = 'BASE TABLE'"
        )
        columns = cursor.fetchall()
        assert {"scrape_jobs", "job_events", "api_keys", "idempotency_keys"} <= {
            table for table, _, _ in columns
        }
        for table, column, kind in columns:
            cursor.execute(
                f"SELECT DISTINCT {column}{'' if kind == 'bytea' else '::text'} FROM {table}"
            )
            for (value,) in cursor.fetchall():
                if isinstance(value, memoryview):
                    value = re.sub(r"[^!-~]", "", bytes(value).decode("latin-1"))
                if value is not None:
                    yield f"database {table}.{column}", value
    connection.close()


def faults_of_log(log: str) -> list[str]:
    """Return the faults of a log of JSON lines; a forged line is a fault as well."""
    found = []
    assert log.count("\n") > len(STRINGS)
    for line in log.split("\n"):
        if line.startswith("{"):
            facts = json.loads(line)
            where = f"log of {facts['logger']}"
            found += faults(where, line)
            if "forged" in (facts["message"], facts["level"]):
                found.append(f"{where}: {line}")
        elif line and not line.startswith(
            ("Scrape Job API on ", "  data: ", "  authentication: ", "  monitor: ", "  try: ")
        ):
            found.append(f"a line that the log cannot contain: {line!a}")
    return found


def faults_of_terminal(text: str) -> list[str]:
    """Return the faults of a log in terminal format."""
    found = []
    for line in text.split("\n"):
        found += faults("terminal", line)
        if line and not re.match(r"[0-9]{2}:[0-9]{2}:[0-9]{2} (?:debug|info|warning|error) ", line):
            found.append(f"a line that the log cannot contain: {line!a}")
    return found
