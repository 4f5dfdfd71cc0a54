"""The fake provider's process: requests in, the ledger, and what it tells afterwards."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from engine.fake import chats, mails, people, texts
from engine.fake.behaviour import Behaviour
from engine.fake.hooks import Postman, key_of
from engine.fake.ledger import Ledger

HANG = 30.0
"""Seconds after which even a connection that hangs is let go."""

DRIP = 0.2
"""Seconds between two bytes of a slow answer."""


class Provider(ThreadingHTTPServer):
    """All providers at one address of this machine. `port` 0: a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.ledger = Ledger(directory)
        self.postman = Postman(key_of(directory), self.behaviour)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_close(self) -> None:
        super().server_close()
        self.ledger.close()

    def behaviour(self) -> Behaviour:
        return Behaviour.read(self.directory)

    def handle_error(self, *_: Any) -> None:
        """A client that was killed while it was answered is what this is for."""

    def take_mail(self, mail: Any, how: Behaviour) -> int:
        """Keep a request of SendGrid's, and see to what becomes of it. Its number."""
        number = self.ledger.take("sendgrid", mail)
        if how.hook:
            batches: dict[float, list[tuple[mails.Recipient, str, dict[str, Any]]]] = {}
            for one in mails.recipients(mail, number):
                for paces, name, more in people.of_mail(one, how):
                    batches.setdefault(paces, []).append((one, name, more))
            now = time.time()
            for paces, batch in batches.items():
                after = paces * how.pace
                told = [one.event(name, int(now + after), **more) for one, name, more in batch]
                self.postman.events(told, after)
        return number

    def take_text(self, form: dict[str, str], account: str, how: Behaviour) -> int:
        """The same of Twilio's."""
        number = self.ledger.take("twilio", form)
        sid, to = texts.sid(number), form["To"]
        both = {"MessageSid": sid, "SmsSid": sid, "AccountSid": account, "ApiVersion": "2010-04-01"}
        ours = form.get("From") or form["MessagingServiceSid"]
        for paces, status, more in people.of_text(to):
            after = paces * how.pace
            if status == "received" and how.hook:
                answer = {**both, "MessageSid": f"{sid}-answer", "From": to, "To": ours, "SmsStatus": status, **more}
                self.postman.form(how.hook.replace("/sendgrid/", "/twilio/"), answer, after)
            elif status != "received" and form.get("StatusCallback"):
                told = {**both, "From": ours, "To": to, "MessageStatus": status, "SmsStatus": status, **more}
                self.postman.form(form["StatusCallback"], told, after)
        return number

    def take_chat(self, said: dict[str, Any], how: Behaviour) -> dict[str, Any]:
        """The same of Telegram's; its answer."""
        number, now, chat = self.ledger.take("telegram", said), int(time.time()), str(said["chat_id"])
        for turn, (paces, what, more) in enumerate(people.of_chat(chat)):
            after, update = paces * how.pace, 10 * number + turn
            at = int(now + after)
            told = chats.written(chat, update, at=at, **more) if what == "written" else None
            if how.hook:
                hook = how.hook.replace("/sendgrid/", "/telegram/")
                self.postman.update(hook, told or chats.standing(chat, update, what, at), after)
        return chats.taken(said, number, now)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        how = self.server.behaviour()
        if how.mode == "reset":
            self._reset()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/v3/mail/send":
            self._mail(body, how)
        elif (account := texts.PATH.fullmatch(self.path)) is not None:
            self._text(body, account[1], how)
        elif (bot := chats.PATH.fullmatch(self.path)) is not None:
            self._chat(body, bot[1], how)
        else:
            self._answer(404, {"errors": [{"message": "not found"}]})

    def _mail(self, body: bytes, how: Behaviour) -> None:
        if self.headers.get("Authorization") != f"Bearer {how.sendgrid_key}" or how.mode == "401":
            self._answer(401, {"errors": [{"message": "The provided authorization grant is invalid"}]})
            return
        if self._unwell(how, {"errors": [{"message": "not now"}]}):
            return
        try:
            mail = json.loads(body)
        except ValueError:
            mail = None
        if (wrong := "subject" if how.mode == "400" else mails.fault(mail)) is not None:
            to = "amina@shop.example is wrong"  # real ones quote addresses, too
            self._answer(400, {"errors": [{"message": to, "field": wrong, "help": None}]})
            return
        number = self.server.take_mail(mail, how)
        self._taken(how, 202, None, {"X-Message-Id": f"sg-{number}"})

    def _text(self, body: bytes, account: str, how: Behaviour) -> None:
        key = base64.b64encode(f"{how.twilio_sid}:{how.twilio_token}".encode()).decode()
        shown = self.headers.get("Authorization") == f"Basic {key}" and account == how.twilio_sid
        if not shown or how.mode == "401":
            self._answer(401, texts.refusal(20003, "Authenticate", 401))
            return
        if self._unwell(how, texts.refusal(20429, "Too Many Requests", 429)):
            return
        form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        wrong = (21211, "Invalid 'To' Phone Number") if how.mode == "400" else texts.fault(form)
        if wrong is not None:
            self._answer(400, texts.refusal(*wrong))
            return
        number = self.server.take_text(form, account, how)
        self._taken(how, 201, texts.resource(form, account, number), {})

    def _chat(self, body: bytes, token: str, how: Behaviour) -> None:
        if token != how.telegram_token or how.mode == "401":
            self._answer(401, chats.refusal(401, "Unauthorized"))
            return
        if how.mode.startswith("429"):
            self._answer(429, chats.refusal(429, "Too Many Requests: retry after 7", retry_after=7))
            return
        if self._unwell(how, chats.refusal(500, "Internal Server Error")):
            return
        try:
            said = json.loads(body)
        except ValueError:
            said = None
        wrong = (400, "Bad Request: chat not found") if how.mode == "400" else chats.fault(said)
        if wrong is not None:
            self._answer(wrong[0], chats.refusal(*wrong))
            return
        self._taken(how, 200, self.server.take_chat(said, how), {})

    def _unwell(self, how: Behaviour, told: dict[str, Any]) -> bool:
        """Whether it has answered that it takes nothing now."""
        if how.mode == "429":
            self._answer(429, told, {"Retry-After": "7"})
        elif how.mode == "429-date":
            self._answer(429, told, {"Retry-After": "Wed, 01 Apr 2026 09:02:00 GMT"})
        elif how.mode == "500":
            self._answer(500, told)
        else:
            return False
        return True

    def _taken(self, how: Behaviour, status: int, body: Any, headers: dict[str, str]) -> None:
        """It stands in the ledger; now the answer, or what comes instead of it."""
        match how.mode:
            case "hang":
                threading.Event().wait(HANG)
            case "accept-500":
                self._answer(500, {"errors": []})
            case "accept-reset":
                self._reset()
            case mode:
                self._answer(status, body, headers, slow=mode == "slow")

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None, *, slow: bool = False) -> None:
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} {self.responses[status][0]}", f"Content-Length: {len(raw)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        whole = "\r\n".join([*lines, "", ""]).encode() + raw
        for at in range(len(whole) if slow else 1):
            self.wfile.write(whole[at : at + 1] if slow else whole)
            if slow:
                time.sleep(DRIP)

    def _reset(self) -> None:
        """Close with a RST: what a crashed or overloaded peer looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """The ledger tells it."""
