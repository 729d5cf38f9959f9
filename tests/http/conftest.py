"""Browsers that call the API."""

from collections.abc import Iterator

import pytest

from support.application import close
from support.browser import LOCAL_PAGE, OTHER_PAGE, PAGE, Browser, make_app


@pytest.fixture(
    scope="module", params=[(PAGE,), (PAGE, OTHER_PAGE, LOCAL_PAGE)], ids=["one", "three"]
)
def browser(request: pytest.FixtureRequest, database_url: str) -> Iterator[Browser]:
    """A browser in front of a service that pages of one origin, or of three, may call."""
    app = make_app(database_url, *request.param)
    yield Browser(app)
    close(app)


@pytest.fixture(scope="module")
def same_origin_browser(database_url: str) -> Iterator[Browser]:
    """A browser in front of a service that no page of another origin may call."""
    app = make_app(database_url)
    yield Browser(app)
    close(app)
