"""The service on a database where only the statistics tests count."""

from collections.abc import Iterator

import pytest

from support.database import migrate, new_database
from support.figures import StatisticsApi, statistics_api


@pytest.fixture(scope="module")
def shared_api(server_url: str) -> Iterator[StatisticsApi]:
    for url in new_database(server_url):
        migrate(url)
        with statistics_api(url) as api:
            yield api


@pytest.fixture
def api(shared_api: StatisticsApi) -> StatisticsApi:
    shared_api.count()  # afterwards only changes of the test are uncounted
    return shared_api
