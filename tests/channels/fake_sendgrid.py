"""A SendGrid of our own, in a process of its own: the documented `POST /v3/mail/send`, and the ways it can go wrong.

Run as a script: python fake_sendgrid.py LEDGER. It prints its port. Every mail it takes is a line appended to the
ledger and synced before it answers: the ledger, not our database, says what was sent. The mode is read from
`LEDGER.mode` at each request:

accept · 429 (Retry-After: 7) · 429-date · 500 · 400 · 401 · hang (takes it, never answers) · accept-500 (takes it,
answers 500) · accept-reset (takes it, resets the connection) · reset (resets before reading)
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

LEDGER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
LOCK = threading.Lock()
NUMBERS = count(1)
RESERVED = {"received", "to", "from", "subject", "content-type", "reply-to", "cc", "bcc", "dkim-signature"}


def fault(mail: Any) -> str | None:
    """The field their documentation would refuse, None for a mail in order."""
    if not isinstance(mail, dict):
        return "body"
    personalizations = mail.get("personalizations")
    if not isinstance(personalizations, list) or not 1 <= len(personalizations) <= 1000:
        return "personalizations"
    for person in personalizations:
        to = person.get("to")
        if not isinstance(to, list) or not to or any("@" not in one.get("email", "") for one in to):
            return "personalizations.0.to"
        if any(not isinstance(value, str) for value in person.get("custom_args", {}).values()):
            return "personalizations.0.custom_args"
        if sum(len(name) + len(value.encode()) for name, value in person.get("substitutions", {}).items()) > 10_000:
            return "personalizations.0.substitutions"
        if any(name.lower() in RESERVED for name in person.get("headers", {})):
            return "personalizations.0.headers"
    if "@" not in mail.get("from", {}).get("email", ""):
        return "from"
    if not mail.get("subject"):
        return "subject"
    content = mail.get("content")
    if not isinstance(content, list) or not content or any(not part.get("value") for part in content):
        return "content"
    types = [part.get("type") for part in content]
    if "text/plain" in types and types[0] != "text/plain":
        return "content"
    if any(name.lower() in RESERVED for name in mail.get("headers", {})):
        return "headers"
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        mode = Path(f"{LEDGER}.mode").read_text() if Path(f"{LEDGER}.mode").exists() else "accept"
        if mode == "reset":
            self._reset()
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v3/mail/send":
            self._answer(404, {"errors": [{"message": "not found"}]})
        elif self.headers.get("Authorization") != "Bearer SG.test" or mode == "401":
            self._answer(401, {"errors": [{"message": "The provided authorization grant is invalid"}]})
        elif mode == "429":
            self._answer(429, {"errors": [{"message": "too many requests"}]}, {"Retry-After": "7"})
        elif mode == "429-date":
            self._answer(429, {"errors": []}, {"Retry-After": "Wed, 01 Apr 2026 09:02:00 GMT"})
        elif mode == "500":
            self._answer(500, {"errors": [{"message": "oops"}]})
        elif (wrong := "subject" if mode == "400" else fault(json.loads(body))) is not None:
            self._answer(400, {"errors": [{"message": "amina@shop.example is wrong", "field": wrong, "help": None}]})
        else:
            number = self._take(json.loads(body))
            if mode == "hang":
                threading.Event().wait(30)
            elif mode == "accept-500":
                self._answer(500, {"errors": []})
            elif mode == "accept-reset":
                self._reset()
            else:
                self._answer(202, None, {"X-Message-Id": f"sg-{number}"})

    def _take(self, mail: Any) -> int:
        with LOCK, LEDGER.open("a") as ledger:
            ledger.write(json.dumps(mail) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())
            return next(NUMBERS)

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _reset(self) -> None:
        """Close with a RST: what a crashed or overloaded peer looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that was killed while it was answered is what this is for."""


if __name__ == "__main__":
    LEDGER.touch()
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
