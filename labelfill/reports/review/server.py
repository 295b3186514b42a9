"""A review served to this computer's own browsers, until Ctrl-C.

It listens on 127.0.0.1 alone. Other users of the computer, and pages of other sites in the same browser, can
reach that address too: so every request must carry a secret that stands in the page's address, and name the
server by the address that it listens on, which a site does not that has its own name lead here. What is asked
is done by the main thread, one request after the other, so that Ctrl-C stops it like any command.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import queue
import secrets
import socketserver
import threading
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from labelfill.errors import DataError, LabelfillError, StorageError
from labelfill.reports.review.review_page import script_json
from labelfill.reports.review.session import Changes, ReviewSession
from labelfill.runs.records import read_record

HOST = "127.0.0.1"
MOST_BYTES = 4_000_000  # of what a page sends at once: a thousand decisions have a tenth of that
_PATIENCE = 30.0  # s for a browser to say what it wants
_LISTENING = 0.5  # s: on Windows Ctrl-C does not end a wait
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_log = logging.getLogger("labelfill")


class ReviewServer(ThreadingHTTPServer):
    """Serves one review.

    Attributes
    ----------
    url
        The page's address, which holds the secret.

    Raises
    ------
    StorageError
        If the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would let two servers share a port

    def __init__(self, session: ReviewSession, port: int) -> None:
        self.session = session
        self._secret = secrets.token_urlsafe(24)
        self._work: queue.Queue[tuple[Callable[[], str], Future[str], bool]] = queue.Queue()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise StorageError(
                f"cannot listen at {HOST}:{port}: {error.strerror}; choose another --port, or 0 for any that "
                "is free"
            ) from error

    def server_bind(self) -> None:
        # Without the look-up of a name, which may take seconds where there is no network.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self._secret}/"

    def asked_for(self, path: str) -> str | None:
        """What is asked for below the secret; None if the secret is another."""
        secret, _, rest = path.removeprefix("/").partition("/")
        return rest if hmac.compare_digest(secret.encode(), self._secret.encode()) else None

    def knows(self, host: str | None) -> bool:
        """Whether a request names this server by an address that leads nowhere else."""
        return host in (f"{HOST}:{self.server_port}", f"localhost:{self.server_port}")

    def ask(self, work: Callable[[], str], *, long: bool = False) -> str:
        """What the main thread answers.

        Parameters
        ----------
        long
            Whether Ctrl-C breaks off something of worth, if it comes meanwhile.
        """
        answer: Future[str] = Future()
        self._work.put((work, answer, long))
        return answer.result()

    def serve(self, begun: Callable[[str], object]) -> None:
        """Answer until Ctrl-C; if that breaks off long work, it is raised, as by any command.

        Parameters
        ----------
        begun
            Is told the page's address.
        """
        threading.Thread(target=self.serve_forever, daemon=True).start()
        long = False
        try:
            begun(self.url)
            while True:
                try:
                    work, answer, long = self._work.get(timeout=_LISTENING)
                except queue.Empty:
                    continue
                try:
                    answer.set_result(work())
                except Exception as error:  # whoever asked is told; the next one may fare better
                    answer.set_exception(error)
                long = False
        except KeyboardInterrupt:
            if long:
                raise
        finally:
            self.shutdown()
            self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away in between needs no traceback."""
        _log.debug("a request was broken off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ReviewServer
    timeout = _PATIENCE
    server_version, sys_version = "labelfill", ""

    def do_GET(self) -> None:
        what = self._allowed()
        if what == "":
            self._answer(self.server.session.page, "text/html; charset=utf-8")
        elif what is not None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        what, session = self._allowed(), self.server.session
        if what is None:
            return
        body = self._body()
        if body is None:
            return
        if what == "decisions":
            self._answer(lambda: _decided(session, body))
        elif what == "refill":
            self._answer(lambda: _refilled(session), long=True)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def _allowed(self) -> str | None:
        """What is asked for; None if the request was refused."""
        origin = self.headers.get("Origin")
        from_here = origin is None or self.server.knows(origin.removeprefix("http://"))
        hosts = self.headers.get_all("Host", [])
        what = self.server.asked_for(self.path)
        if what is None or not from_here or len(hosts) != 1 or not self.server.knows(hosts[0]):
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that labelfill review --serve printed")
            return None
        return what

    def _body(self) -> bytes | None:
        """What was sent; None if that was refused."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected JSON")
        elif not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected Content-Length")
        elif len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MOST_BYTES:,} bytes")
        else:
            return self.rfile.read(int(length))
        return None

    def _answer(self, work: Callable[[], str], kind: str = "application/json", *, long: bool = False) -> None:
        try:
            told = self.server.ask(work, long=long)
        except LabelfillError as error:
            code = HTTPStatus.BAD_REQUEST if isinstance(error, DataError) else HTTPStatus.SERVICE_UNAVAILABLE
            _log.warning("%s", error)
            self._refuse(code, str(error))
        except Exception as error:
            _log.exception("a request failed")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"a mistake in labelfill itself, {error!r}")
        else:
            self._send(HTTPStatus.OK, told, kind)

    def _refuse(self, code: HTTPStatus, why: str) -> None:
        self._send(code, json.dumps({"error": why}), "application/json")

    def _send(self, code: HTTPStatus, text: str, kind: str) -> None:
        content = text.encode()
        self.send_response(code)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(content))), *_HEADERS.items()):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server calls it
        """Requests are not listed: their addresses hold the secret."""


def _decided(session: ReviewSession, body: bytes) -> str:
    session.decide(read_record(Changes, body))
    return json.dumps({"decisions": len(session.decisions)})


def _refilled(session: ReviewSession) -> str:
    told = session.refill()
    about = script_json({"said": told.said, "summary": told.listed.summary})
    return f'{about[:-1]},"rows":[{",".join(told.listed.described)}]}}'
