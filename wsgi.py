"""What a WSGI server runs: gunicorn wsgi:app."""

import os
import sys

from app.config import Settings, SettingsError
from app.factory import create_app
from app.http import logs

try:
    settings = Settings.from_environ(os.environ)
    logs.configure(settings.log_level)
    app = create_app(settings)
except SettingsError as error:
    sys.exit("\n".join(error.lines))
