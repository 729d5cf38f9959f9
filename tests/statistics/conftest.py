"""The service on a database where only the statistics tests count."""

from collections.abc import Iterator

import pytest

from app.config import Settings
from app.factory import create_app
from support.database import migrate, new_database
from support.figures import Place
from support.service import own_work


@pytest.fixture(scope="module")
def own_place(server_url: str) -> Iterator[Place]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=4))
        place = Place(url, app)
        yield place
        place.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def place(own_place: Place) -> Place:
    own_place.count()  # afterwards only changes of the test are uncounted
    return own_place
