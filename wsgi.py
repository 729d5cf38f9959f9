"""The WSGI application, for gunicorn (`gunicorn wsgi:app`) and Flask (`flask --app wsgi`)."""

import gc
import os
import sys

# Imported modules live as long as the process. Searching them for garbage takes as long as loading
# them: during the import, in requests, and when the process ends.
gc.disable()

from app.config import SettingsError  # noqa: E402
from app.factory import create_app  # noqa: E402
from app.http import logs  # noqa: E402
from app.server.settings import read_settings  # noqa: E402

try:
    settings = read_settings(os.environ)
    logs.configure(settings.log_level)
    app = create_app(settings)
except SettingsError as error:
    sys.exit("\n".join(error.lines))

gc.freeze()
gc.enable()
