"""The WSGI application, for gunicorn (`gunicorn wsgi:app`) and Flask (`flask --app wsgi`)."""

import os
import sys

from app.config import SettingsError
from app.factory import create_app
from app.http import logs
from app.server.settings import read_settings

try:
    settings = read_settings(os.environ)
    logs.configure(settings.log_level)
    app = create_app(settings)
except SettingsError as error:
    sys.exit("\n".join(error.lines))
