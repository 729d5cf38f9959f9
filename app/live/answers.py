"""Parameters and answers of event streams, for the OpenAPI document."""

from app.config import Settings
from app.errors import TooManyStreams
from app.http.documentation import Content, Header
from app.live.changes import signal_frame, with_id
from app.live.schemas import POSITION

MEDIA_TYPE = "text/event-stream"

LAST_EVENT_ID = Header(
    "Last-Event-ID",
    "The id of the last frame that the client has read: the stream resumes there.",
    {"type": "string", "examples": [POSITION]},
)

STREAM = Content(
    "Server-sent events without an end: `ready`, then `job` for each change, and `resync` when the"
    " client has to read the jobs again.",
    media_type=MEDIA_TYPE,
    schema={"type": "string"},
    example=with_id(POSITION, signal_frame("ready")).decode(),
    headers=(
        Header(
            "X-Accel-Buffering",
            "A proxy passes each frame on at once.",
            {"type": "string", "const": "no"},
            is_always_sent=True,
        ),
    ),
    is_endless=True,
)

REFUSED = (TooManyStreams(Settings().streams),)
