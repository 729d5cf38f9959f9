"""The spider of the tests, run by `python -m scrapy runspider`."""

import importlib
import threading
import time
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

    def __init__(self, url: str, act: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.start_urls = [url]
        self._act = act

    def parse(self, response: Any) -> Iterator[Any]:
        match self._act:
            case "fail":
                raise ValueError("no products found")
            case "block":  # the reactor
                time.sleep(13)
            case "die":  # the main thread, while another one keeps the process alive
                threading.Thread(target=time.sleep, args=(60,)).start()
                reactor: Any = importlib.import_module("twisted.internet.reactor")
                reactor.callLater(0, reactor.crash)
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link, self.parse_page)

    def parse_page(self, response: Any) -> Iterator[Product]:
        yield Product(response.css("h1::text").get())
