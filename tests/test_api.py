"""Whether the configured Prefect API answers is asked as the flows will ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

from pipeline.errors import InputError
from pipeline.flows.api import LOOPBACK, check

KEY = "a key of the server's"


class Locked(BaseHTTPRequestHandler):
    """Answers who shows the key."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == f"Bearer {KEY}"
        self.send_response(200 if known else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """In silence."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer((LOOPBACK, 0), Locked) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{LOOPBACK}:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_an_api_that_wants_a_key_is_shown_it(url):
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_KEY: KEY}):
        check(url)


def test_a_wrong_key_is_an_error(url):
    settings = temporary_settings({PREFECT_API_URL: url, PREFECT_API_KEY: "another"})
    with settings, pytest.raises(InputError, match=r"does not answer: .*401"):
        check(url)
