"""Providers that take one request a message: Twilio, Firebase, Telegram, browsers, and a webhook of the shop.

Run as a script: python fake_http.py LEDGER. It prints its port. Every request it takes is a line appended to the ledger
and synced before it answers. `LEDGER.mode` is read at each request: nothing (as documented), `hang`, `take-reset`,
`reset` (but for Firebase's tokens, which it always gives), or the JSON of an answer {"status": …, "headers": {…}, "body": …, "pieces": true} that it gives instead of taking anything.

https://www.twilio.com/docs/messaging/api/message-resource
https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
https://core.telegram.org/bots/api#sendmessage
https://www.rfc-editor.org/rfc/rfc8030
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

LEDGER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
LOCK = threading.Lock()
NUMBERS = count(1)
BASIC = "Basic " + base64.b64encode(b"AC123:token").decode()


def twilio(form: dict[str, str], number: int) -> tuple[int, Any]:
    """Their answer to a message: 201 with its sid, or what is wrong with it."""
    code = None
    if not re.fullmatch(r"(whatsapp:)?\+[1-9][0-9]{6,14}", form.get("To", "")):
        code = 21211
    elif not form.get("From") and not form.get("MessagingServiceSid"):
        code = 21603
    elif not form.get("Body") and not form.get("ContentSid"):
        code = 21602
    elif len(form.get("Body", "")) > 1600:
        code = 21617
    if code is not None:
        return 400, {"code": code, "message": f"{form.get('To')} is wrong", "status": 400}
    return 201, {"sid": f"SM{number:032x}", "status": "queued", "error_code": None}


def telegram(said: dict[str, Any], number: int) -> tuple[int, Any]:
    """The same of Telegram's: 200 with its number."""
    if not said.get("text") or type(said.get("chat_id")) is not int or len(said["text"]) > 4096:
        return 400, {"ok": False, "error_code": 400, "description": "Bad Request: message text is empty"}
    return 200, {"ok": True, "result": {"message_id": number, "chat": {"id": said["chat_id"], "type": "private"}}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        file = Path(f"{LEDGER}.mode")
        mode = file.read_text() if file.exists() and self.path != "/token" else ""
        if mode == "reset":
            return self._reset()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if mode.startswith("{"):
            said = json.loads(mode)
            return self._answer(said["status"], said.get("body"), said.get("headers"), pieces=bool(said.get("pieces")))
        status, answer = self._take(body)
        if mode == "hang":
            threading.Event().wait(30)
        if mode == "take-reset":
            return self._reset()
        return self._answer(status, answer)

    def _take(self, body: bytes) -> tuple[int, Any]:
        number = next(NUMBERS)
        status: int = 200
        answer: Any = {"name": f"projects/duka/messages/{number}"}
        if self.path.startswith("/2010-04-01/Accounts/"):
            if self.headers.get("Authorization") != BASIC:
                return 401, {"code": 20003, "message": "Authenticate", "status": 401}
            status, answer = twilio(dict(parse_qsl(body.decode())), number)
        elif self.path == "/token":
            status, answer = 200, {"access_token": f"token-{number}", "expires_in": 3600, "token_type": "Bearer"}
        elif self.path.endswith("/sendMessage"):
            status, answer = telegram(json.loads(body), number)
            if self.path != "/bot123:token/sendMessage":
                status, answer = 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
        elif self.path.startswith("/push/"):
            status, answer = 201, {}
        if status < 300:
            with LOCK, LEDGER.open("a") as ledger:
                taken: dict[str, Any] = {
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                }
                ledger.write(json.dumps({**taken, "body": base64.b64encode(body).decode()}) + "\n")
                ledger.flush()
                os.fsync(ledger.fileno())
        return status, answer

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None, *, pieces: bool = False) -> None:
        raw = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        for at in range(0, len(raw), 5 if pieces else len(raw) or 1):
            self.wfile.write(raw[at : at + 5] if pieces else raw)
            if pieces:
                time.sleep(0.05)

    def _reset(self) -> None:
        """Close with a RST: what a crashed or overloaded peer looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away while it was answered is what this is for."""


if __name__ == "__main__":
    LEDGER.touch()
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
