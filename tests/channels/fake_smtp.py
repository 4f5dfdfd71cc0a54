"""A mail relay of our own, in a process of its own: SMTP as RFC 5321 has it, and the ways it can go wrong.

Run as a script: python fake_smtp.py LEDGER [CERTIFICATE KEY]. It prints its port. Every mail it takes is a line appended
to the ledger and synced before it answers. The words of `LEDGER.mode` are read for each command:

greylist (450 for everybody) · unknown (550 in several lines for NOBODY@…) · mail-X, rcpt-X (550 X to that command) · full (452 after the content) · spam (550 after
the content) · hang (takes it, never answers) · take-reset (takes it, resets) · reset (resets at MAIL) · reset-data (resets
when it has asked for the content) · tired (421 to every third mail of a connection) · busy (421 to whoever comes) · slow
(no PIPELINING) · ponder (0.7 s over each recipient) · small (takes 500 bytes) · login (wants to know who sends) · tls (offers STARTTLS)
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

LEDGER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
LOCK = threading.Lock()
LOGIN = base64.b64encode(b"\0duka\0sesame")


def modes() -> set[str]:
    file = Path(f"{LEDGER}.mode")
    return set(file.read_text().split()) if file.exists() else set()


def told(command: str) -> str | None:
    """The enhanced code, or nothing, that this command is refused with; None where it isn't."""
    return next((mode.partition("-")[2] for mode in modes() if mode.startswith(f"{command}-")), None)


class Dialogue(StreamRequestHandler):
    def say(self, *lines: str) -> None:
        code, _, first = lines[0].partition(" ")
        texts = [first, *lines[1:]]
        said = [f"{code}{'-' if n < len(texts) - 1 else ' '}{text}\r\n" for n, text in enumerate(texts)]
        self.wfile.write("".join(said).encode())

    def handle(self) -> None:
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.secure = self.known = False
        self.count, self.sender, self.to = 0, "", list[str]()
        self.say("421 4.3.2 too busy" if "busy" in modes() else "220 relay.example ESMTP")
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            found = getattr(self, f"do_{verb.lower()}", None)
            if found is None:
                self.say("500 5.5.1 what?")
            elif found(rest) is False:
                return

    def do_ehlo(self, rest: str) -> None:
        able = [] if "slow" in modes() else ["PIPELINING"]
        able += ["SIZE 500" if "small" in modes() else "SIZE 10000000", "8BITMIME"]
        able += ["STARTTLS"] if "tls" in modes() and not self.secure else []
        able += ["AUTH LOGIN PLAIN"] if "login" in modes() else []
        self.say("250 relay.example", *able)

    def do_starttls(self, rest: str) -> None:
        if "tls" not in modes():
            self.say("502 5.5.1 not here")
            return
        self.say("220 2.0.0 go on")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        self.connection = context.wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.secure = True

    def do_auth(self, rest: str) -> None:
        self.known = rest.encode() == b"PLAIN " + LOGIN
        self.say("235 2.7.0 welcome" if self.known else "535 5.7.8 who are you?")

    def do_mail(self, rest: str) -> bool:
        self.count += 1
        if "reset" in modes():
            return self.reset()
        if "tired" in modes() and self.count % 3 == 0:
            self.say("421 4.7.0 enough for this connection")
            return False
        if "login" in modes() and not self.known:
            self.say("530 5.7.0 log in first")
        elif self.sender:
            self.say("503 5.5.1 one mail at a time")
        elif (code := told("mail")) is not None:
            self.say(f"550 {code} no")
        else:
            self.sender = rest.partition(":")[2]
            self.say("250 2.1.0 ok")
        return True

    def do_rcpt(self, rest: str) -> None:
        to = rest.partition(":")[2].strip("<>")
        if "ponder" in modes():
            time.sleep(0.7)
        if not self.sender:
            self.say("503 5.5.1 from whom?")
        elif (code := told("rcpt")) is not None:
            self.say(f"550 {code} no")
        elif "greylist" in modes():
            self.say("450 4.7.1 come again in a while")
        elif "unknown" in modes() and to.startswith("nobody"):
            self.say("550 5.1.1 no such user here:", f"<{to}>", "5.1.1 ask them")
        else:
            self.to.append(to)
            self.say("250 2.1.5 ok")

    def do_data(self, rest: str) -> bool:
        if not self.to:
            self.say("503 5.5.1 for whom?")
            return True
        self.say("354 go on")
        if "reset-data" in modes():
            return self.reset()
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if not line:
            return False
        if "full" in modes():
            self.say("452 4.2.2 no room")
        elif "spam" in modes():
            self.say("550 5.7.1 amina@shop.example does not want this")
        else:
            self.take(b"".join(lines))
            if "hang" in modes():
                threading.Event().wait(30)
            if "take-reset" in modes():
                return self.reset()
            self.say("250 2.0.0 queued")
        self.do_forget()
        return True

    def do_rset(self, rest: str) -> None:
        self.do_forget()
        self.say("250 2.0.0 ok")

    def do_quit(self, rest: str) -> bool:
        self.say("221 2.0.0 bye")
        return False

    def do_forget(self) -> None:
        self.sender, self.to = "", []

    def take(self, content: bytes) -> None:
        mail = {
            "from": self.sender.strip("<>"),
            "to": self.to,
            "content": content.decode("latin-1"),
            "secure": self.secure,
        }
        with LOCK, LEDGER.open("a") as ledger:
            ledger.write(json.dumps(mail) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())

    def reset(self) -> bool:
        """Close with a RST: what a crashed or overloaded peer looks like."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()
        return False

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()


class Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away while it was answered is what this is for."""


if __name__ == "__main__":
    LEDGER.touch()
    server = Server(("127.0.0.1", 0), Dialogue)
    print(server.server_address[1], flush=True)
    server.serve_forever()
