"""The headers that the OpenAPI document describes: names, meanings and examples."""

from app.http.documentation import Content, Header

_ETAG = {"type": "string", "examples": ['"3"']}
_COUNT = {"type": "integer", "minimum": 0}

# Request headers

REQUEST_ID = Header(
    "X-Request-ID",
    "1 to 128 of `A-Z a-z 0-9 . _ -`. Log and history carry it; without it the service makes one.",
    {"type": "string", "examples": ["crawl-4711"]},
)
IDEMPOTENCY_KEY = Header(
    "Idempotency-Key",
    "1 to 255 visible ASCII characters. The same key with the same body gets the first answer again"
    " for 24 hours.",
    {"type": "string", "minLength": 1, "maxLength": 255, "examples": ["order-4711"]},
)
IF_MATCH = Header(
    "If-Match", "Change the job only if it still has this ETag; otherwise the answer is 412.", _ETAG
)
IF_NONE_MATCH = Header(
    "If-None-Match", "Answer 304 without a body if this ETag is still current.", _ETAG
)
LEASE_TOKEN = Header(
    "X-Lease-Token",
    "The lease_token that came with the claimed job. Without the lease the answer is 409.",
    {"type": "string", "examples": ["sM2bJ0y5V3T9mK4xQ7wZr8LdHf1cNe6A"]},
)

# Response headers

ANSWERED_REQUEST_ID = Header(
    "X-Request-ID",
    "The id of the request, also in the log and in the job's history.",
    {"type": "string", "examples": ["0190f3a0-0000-7000-8000-000000000001"]},
    is_always_sent=True,
)
RATE_LIMITS = (
    Header("RateLimit-Limit", "Requests a minute, of the limit that is reached first.", _COUNT),
    Header("RateLimit-Remaining", "Requests that are left of it.", _COUNT),
    Header("RateLimit-Reset", "Seconds until all of them are available again.", _COUNT),
)
ETAG = Header("ETag", "The state of the resource; it changes with every change.", _ETAG)
LOCATION = Header(
    "Location",
    "The path of the new resource.",
    {
        "type": "string",
        "format": "uri-reference",
        "examples": ["/api/scrape-jobs/0190f3a0-0000-7000-8000-000000000001"],
    },
)
REPLAYED = Header(
    "Idempotent-Replayed",
    "The answer is the first one to this Idempotency-Key.",
    {"type": "string", "const": "true"},
)
RETRY_AFTER = Header("Retry-After", "Seconds to wait.", {"type": "integer", "minimum": 1})
AUTHENTICATE = Header(
    "WWW-Authenticate",
    "The scheme of authentication.",
    {"type": "string", "examples": ['Bearer realm="scrape-jobs"']},
    is_always_sent=True,
)
ACCEPT_PATCH = Header(
    "Accept-Patch",
    "The media type that PATCH takes.",
    {"type": "string", "examples": ["application/merge-patch+json"]},
)

NOT_MODIFIED = Content("The resource still has the ETag of If-None-Match.", 304, headers=(ETAG,))
