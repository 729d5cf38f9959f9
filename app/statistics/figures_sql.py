"""SQL that reads the figures of a window: of all jobs together, and of each group.

The figures of a window are three parts, read as of one moment: the running totals of the spans of
time that lie in the window, the changes in these spans that are not counted yet, and the changes
at the edges of the window, which no span covers.
"""

from dataclasses import dataclass

from app.database import Statement
from app.database.tenant_scope import PARAMETER
from app.statistics.contributions import SUMMED, contributions_at_edge, contributions_of
from app.statistics.error_totals import OTHER_PATTERNS
from app.statistics.measures import (
    BUCKET_GROWTH,
    COUNTS,
    MAX_ERRORS,
    MAX_GROUPS,
    MEASURES,
    PEAKS,
    SUMS,
    ZERO_BUCKET,
)
from app.statistics.time_zones import UNITS

GROUPS = ("domain", "job_type", *UNITS)
"""Possible groups of the figures."""

ROWS_READ = {
    "all": "t.domain = ''",
    "domain": "t.domain = %(domain)s::text",
    "kinds": "t.domain > ''",
}
"""SQL conditions for rows `t` of totals: of all jobs together, of one domain, or of every kind.

A kind is a combination of customer, domain and job type.
"""


def matches(row: str) -> str:
    """Return the SQL condition that `row`, of totals or contributions, passes the filters.

    The tenant scope is one of the filters.
    """
    columns = {
        "customer": "customer",
        "domain": "domain",
        "job_type": "job_type",
        PARAMETER: "customer",
    }
    return " AND ".join(
        f"(%({name})s::text IS NULL OR {row}.{column} = %({name})s::text)"
        for name, column in columns.items()
    )


_BUCKET_VALUE = (
    f"CASE bucket WHEN {ZERO_BUCKET} THEN 0 ELSE power({BUCKET_GROWTH}::float8, bucket + 0.5) END"
)

_SUM_OF_PARTS = ", ".join(
    [f"sum(m.{name}) AS {name}" for name in (*COUNTS, *SUMS)]
    + [f"max(m.{name}) AS {name}" for name in PEAKS]
)

_PLACED = """, placed AS MATERIALIZED (
            -- Each change once for the whole window, and once for its hour or day.
            SELECT c.*, p.place FROM loose c CROSS JOIN LATERAL (
                SELECT NULL::int AS place UNION ALL
                SELECT (%(period_places)s::int[])[b.number]
                FROM width_bucket(c.at, %(period_starts)s::timestamptz[]) AS b (number)
                WHERE b.number > 0 AND c.at < (%(period_ends)s::timestamptz[])[b.number]
            ) AS p
        )"""


def _value_at(position: str) -> str:
    return f"min({_BUCKET_VALUE}) FILTER (WHERE reached > {position})"


def _quantile(share: float) -> str:
    """Return SQL for a quantile, interpolated between the two nearest of `n` values."""
    place = f"{share} * (n - 1)"
    low, high = _value_at(f"floor({place})"), _value_at(f"ceil({place})")
    return f"{low} + ({high} - {low}) * (({place}) - floor({place}))"


@dataclass(frozen=True, slots=True)
class FiguresSQL:
    """Builds the statement that reads the figures of a window.

    Attributes:
        group: One of `GROUPS`, or None.
        rows: The rows of totals to read, one of `ROWS_READ`.
    """

    group: str | None
    rows: str

    @property
    def _by_time(self) -> bool:
        return self.group in UNITS

    def statement(self) -> Statement:
        """Return the statement.

        Its rows are (key, measures as JSON, p50, p95, errors as JSON, number of other errors). The
        key is null for all jobs together. For hours and days it is the place of the period in the
        parameter `places`.
        """
        return Statement(
            f"read_statistics_of_{self.rows}_by_{self.group or 'nothing'}",
            promise="The figures of the window as of one moment, for all jobs and for each group,"
            " at most one group more than an answer may have.",
            sql=self._sql(),
        )

    def _sql(self) -> str:
        edges = " UNION ALL ".join(contributions_at_edge(number) for number in (1, 2))
        order = "f.key DESC" if self._by_time else "f.total DESC, f.key"
        by_bucket = self._grouped("sum(m.jobs) AS jobs", "bucket", "bucket")
        by_pattern = self._grouped(
            "sum(m.failures) AS failures, max(m.job_id::text) AS job_id", "failure", "pattern"
        )
        last_job = "(array_agg(c.job_id ORDER BY c.at DESC))[1]"
        failed = self._from_contributions(
            f"c.pattern, count(*), {last_job}", "c.pattern IS NOT NULL"
        )
        totals = ", ".join(f"t.{name}" for name in MEASURES)
        return f"""
        WITH pending_event AS MATERIALIZED (SELECT job_id, seq FROM uncounted_events
        ), loose AS MATERIALIZED (
            -- Changes that are in no span of totals: not counted yet, or at an edge.
            SELECT * FROM ({contributions_of("pending_event")}) AS c
            WHERE %(counts)s::bool AND c.at >= %(counted_from)s::timestamptz
                AND c.at < %(counted_to)s::timestamptz AND {matches("c")}
            UNION ALL
            SELECT * FROM ({edges}) AS c WHERE {matches("c")}
        ){_PLACED if self._by_time else ""}, measure AS MATERIALIZED (
            {self._from_totals("job_totals", totals)}
            UNION ALL {self._from_contributions(SUMMED, "true")}
        ), figures AS MATERIALIZED (
            SELECT * FROM (
                SELECT f.*,
                    f.pending + f.running + f.completed + f.failed + f.cancelled AS total
                FROM ({self._grouped(_SUM_OF_PARTS, "measure")}) AS f
            ) AS f
            ORDER BY f.key IS NOT NULL, {order} LIMIT {MAX_GROUPS + 2}
        ), bucket AS MATERIALIZED (
            {self._from_totals("job_duration_totals", "t.bucket, t.jobs")}
            UNION ALL
            {self._from_contributions("c.bucket, count(*)", "c.bucket IS NOT NULL")}, c.bucket
        ), failure AS MATERIALIZED (
            {self._from_totals("job_error_totals", "t.pattern, t.failures, t.job_id")}
            UNION ALL {failed}, c.pattern
        ), quantiles AS (
            SELECT key, {_quantile(0.5)} AS p50, {_quantile(0.95)} AS p95 FROM (
                SELECT h.*, sum(jobs) OVER (PARTITION BY key ORDER BY bucket) AS reached,
                    sum(jobs) OVER (PARTITION BY key) AS n
                FROM ({by_bucket}) AS h
            ) AS h GROUP BY key, n
        ), errors AS (
            SELECT key,
                json_agg(
                    json_build_object('pattern', pattern, 'count', failures, 'job_id', job_id)
                    ORDER BY place
                ) FILTER (WHERE place <= {MAX_ERRORS} AND NOT is_rest) AS list,
                sum(failures) FILTER (WHERE place > {MAX_ERRORS} OR is_rest)::bigint AS others
            FROM (
                SELECT f.*, row_number() OVER (
                    PARTITION BY key, is_rest ORDER BY failures DESC, pattern) AS place
                FROM (
                    SELECT f.*, pattern = '{OTHER_PATTERNS}' AS is_rest FROM ({by_pattern}) AS f
                ) AS f
            ) AS f GROUP BY key
        )
        SELECT f.key, row_to_json(f), q.p50, q.p95, e.list, coalesce(e.others, 0)
        FROM figures f LEFT JOIN quantiles q ON q.key IS NOT DISTINCT FROM f.key
            LEFT JOIN errors e ON e.key IS NOT DISTINCT FROM f.key
        ORDER BY f.key IS NOT NULL, {order}
        """

    def _key(self, row: str) -> str:
        """Return SQL for the key of a `row`.

        Hours and days have spans of their own beside those of the whole window. Their key is the
        place of the period.
        """
        if self._by_time:
            return {"t": "s.place", "c": "c.place"}[row]
        return "NULL::text" if self.group is None else f"{row}.{self.group}"

    def _from_totals(self, table: str, columns: str) -> str:
        return f"""SELECT {self._key("t")} AS key, {columns}
            FROM unnest(
                %(grains)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[],
                %(places)s::int[]
            ) AS s (grain, start, "end", place)
            CROSS JOIN LATERAL (
                SELECT * FROM {table} t
                WHERE t.grain = s.grain AND {ROWS_READ[self.rows]}
                    AND t.start >= s.start AND t.start < s."end" AND {matches("t")} OFFSET 0
            ) AS t"""

    def _from_contributions(self, columns: str, condition: str) -> str:
        source = "placed" if self._by_time else "loose"
        return f"""SELECT {self._key("c")} AS key, {columns}
            FROM {source} c WHERE {condition} GROUP BY 1"""

    def _grouped(self, select: str, source: str, *by_columns: str) -> str:
        """Return SQL that sums up `source` for all jobs together and for each group.

        Groups that are not in the CTE `figures` are left out where there are `by_columns`.
        """
        of_all, of_group = "true", "true"
        if self._by_time:
            of_all, of_group = "key IS NULL", "key IS NOT NULL"
        if by_columns:
            of_group += " AND key IN (SELECT key FROM figures)"
        columns = "".join(f"{column}, " for column in by_columns)
        key = "NULL::int" if self._by_time else "NULL::text"
        together = f"SELECT {key} AS key, {columns}{select} FROM {source} m WHERE {of_all}"
        if by_columns:
            together += f" GROUP BY {', '.join(by_columns)}"
        if self.group is None:
            return together
        return f"""{together}
            UNION ALL SELECT key, {columns}{select} FROM {source} m
            WHERE {of_group} GROUP BY {", ".join(("key", *by_columns))}"""
