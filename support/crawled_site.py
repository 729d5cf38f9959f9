"""A web site on loopback to crawl, with a log of the requests that it answered."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

SLOW_SECONDS = 0.5

SPECIAL_PAGES = {
    "/missing": 404,
    "/broken": 500,
    "/moved": 302,
}


class CrawledSite:
    """A site of `pages` numbered pages and some special ones; a context manager.

    Paths:
        /: Links to all pages.
        /page/N: A product, after `delay` seconds.
        /slow: The same after SLOW_SECONDS.
        /missing: 404. /broken: 500. /moved: 302 to /landing.
        /private: Forbidden by robots.txt.
        /cut: Closes the connection without an answer.
    """

    def __init__(self, pages: int, *, delay: float = 0, special: bool = True) -> None:
        self.log: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        links = [f"/page/{number}" for number in range(pages)]
        if special:
            links += [*SPECIAL_PAGES, "/slow", "/private", "/cut"]
        index = "".join(f'<a href="{link}">{link}</a>' for link in links)
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path
                if path == "/cut":
                    site._note(path, 0)
                    self.close_connection = True
                    return
                if path == "/slow":
                    time.sleep(SLOW_SECONDS)
                elif path.startswith("/page/"):
                    time.sleep(delay)
                status = SPECIAL_PAGES.get(path, 200)
                site._note(path, status)
                if path == "/robots.txt":
                    body = "User-agent: *\nDisallow: /private\n"
                elif path == "/":
                    body = f"<html><body>{index}</body></html>"
                else:
                    body = f"<html><body><h1>{path}</h1></body></html>"
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/landing")
                self.send_header(
                    "Content-Type", "text/plain" if path == "/robots.txt" else "text/html"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _note(self, path: str, status: int) -> None:
        with self._lock:
            self.log.append((path, status))

    def count(self, *statuses: int) -> int:
        """Return how many requests were answered with one of the statuses, without robots.txt."""
        return sum(path != "/robots.txt" and status in statuses for path, status in self.log)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
