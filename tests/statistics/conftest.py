"""The service on a database where only the statistics tests count."""

from collections.abc import Iterator

import pytest

from app.config import Settings
from app.factory import create_app
from support.database import migrate, new_database
from support.figures import StatisticsApi
from support.service import own_work


@pytest.fixture(scope="module")
def shared_api(server_url: str) -> Iterator[StatisticsApi]:
    for url in new_database(server_url):
        migrate(url)
        app = create_app(Settings(database_url=url, auth="off", rate_limit=False, threads=4))
        api = StatisticsApi(url, app)
        yield api
        api.close()
        with own_work(app):
            app.extensions["sqlalchemy"].engine.dispose()


@pytest.fixture
def api(shared_api: StatisticsApi) -> StatisticsApi:
    shared_api.count()  # afterwards only changes of the test are uncounted
    return shared_api
