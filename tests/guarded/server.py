"""An HTTP server of a test's own, that does as it is told and writes down what it was asked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Behave = Callable[[socket.socket, bytes], None]


@dataclass
class Server:
    """`asked`: the raw requests, in order; `came`: connections, also of those that asked nothing. `behave` may be
    told again while it runs."""

    port: int = 0
    asked: list[bytes] = field(default_factory=list)
    came: int = 0
    named: list[str | None] = field(default_factory=list)
    behave: Behave | None = None

    def headers(self, n: int = -1) -> dict[str, str]:
        lines = self.asked[n].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def body(self, n: int = -1) -> bytes:
        return self.asked[n].partition(b"\r\n\r\n")[2]


def answering(status: str = "200 OK", body: bytes = b"{}", *more: str) -> Behave:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *more]
    return lambda connection, asked: connection.sendall("\r\n".join([*head, "", ""]).encode() + body)


@contextmanager
def serving(
    behave: Behave | None = None, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server on a port of its own. `behave` gets the connection and the whole request."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    server = Server(listening.getsockname()[1], behave=behave)
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.named.append(name)

    def one(connection: socket.socket) -> None:
        try:
            with connection:
                secure = tls.wrap_socket(connection, server_side=True) if tls is not None else connection
                with secure:
                    server.asked.append(asked := _read(secure))
                    (server.behave or answering())(secure, asked)
        except OSError:
            pass  # they went away

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            server.came += 1
            Thread(target=one, args=(connection,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _read(connection: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        if not (part := connection.recv(65536)):
            return read
        read += part
    head, _, body = read.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        if not (part := connection.recv(65536)):
            break
        body += part
    return head + b"\r\n\r\n" + body


def certificate(name: str, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's side and a client's side of a certificate for this name."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "certificate.pem"
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    public = made.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(private + public)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(file)
    return theirs, ssl.create_default_context(cadata=public.decode())
