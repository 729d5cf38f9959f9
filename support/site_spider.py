"""The spider of the tests, run by `python -m scrapy runspider`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import scrapy


@dataclass
class Product:
    """An item."""

    name: str


class SiteSpider(scrapy.Spider):
    """Crawls all pages that the first page links to."""

    name = "site"

    def __init__(self, url: str, fails: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.start_urls = [url]
        self._fails = bool(fails)

    def parse(self, response: Any) -> Iterator[Any]:
        if self._fails:
            raise ValueError("no products found")
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link, self.parse_page)

    def parse_page(self, response: Any) -> Iterator[Product]:
        yield Product(response.css("h1::text").get())
