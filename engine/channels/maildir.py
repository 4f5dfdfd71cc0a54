"""The channel that needs no provider: messages become files one can open.

A mail is `<directory>/email/<ref>.eml`, anything else `<directory>/<channel>/<ref>.json` (one JSON line). The file's
name is the message's id and its rename is the send: a repeat overwrites itself, and a crash before the rename has
sent nothing.
"""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

import orjson
from pydantic import Field

from engine.channels import mime
from engine.channels.base import Accepted, ChannelOptions, InDoubt, Limits, Outgoing, Refused, Result, Surroundings
from engine.language.fields import CHANNELS
from engine.language.registry import channel


class MaildirOptions(ChannelOptions):
    """`directory`: where the files go, below the data directory. `fsync: false` trades safety at a power cut for
    speed."""

    directory: str = Field(default="", pattern=r"^[a-z0-9_-]*$")
    fsync: bool = True


@channel("maildir")
class Maildir:
    """Writes each message to `tmp/`, makes it durable and renames it into place."""

    carries: ClassVar[frozenset[str]] = frozenset(CHANNELS)
    idempotent: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits()
    Options: ClassVar[type[ChannelOptions]] = MaildirOptions

    def __init__(self, directory: Path, *, fsync: bool = True) -> None:
        self._directory = directory
        self._fsync = fsync
        self._made: set[str] = set()
        (directory / "tmp").mkdir(parents=True, exist_ok=True)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, MaildirOptions)
        return cls(surroundings.mail / options.directory, fsync=options.fsync)

    def send(self, message: Outgoing) -> Result:
        try:
            data = mime.build(message) if message.channel == "email" else _line(message)
        except ValueError as error:
            return Refused(f"content: {error}")
        name = f"{message.ref}.{'eml' if message.channel == 'email' else 'json'}"
        folder = self._directory / message.channel
        # Two processes may write the same message at once; each needs a file of its own until the rename.
        draft = self._directory / "tmp" / f"{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            if message.channel not in self._made:
                folder.mkdir(exist_ok=True)
                self._made.add(message.channel)
            self._write(draft, data)
            os.replace(draft, folder / name)
        except OSError as error:
            draft.unlink(missing_ok=True)
            return Refused(f"disk: {error.strerror}", retry_after=timedelta(minutes=1))
        try:
            self._settle(folder)
        except OSError as error:
            return InDoubt(f"disk: {error.strerror}")
        return Accepted(provider_id=name)

    def close(self) -> None:
        """Nothing is held open between messages."""

    def _write(self, path: Path, data: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            if self._fsync:
                os.fsync(handle)
        finally:
            os.close(handle)

    def _settle(self, folder: Path) -> None:
        """A rename is durable only when its directory is."""
        if not self._fsync:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _line(message: Outgoing) -> bytes:
    content = message.content
    shown: dict[str, object] = {"text": content.text}
    if message.channel == "whatsapp" and content.template_id:
        shown |= {"template": content.template_id, "variables": dict(content.variables)}
    elif message.channel == "push":
        shown = {"title": content.title, "body": content.body, "url": content.url}
    record = {
        "ref": message.ref,
        "channel": message.channel,
        "to": message.to,
        "from": message.sender.name,
        "topic": message.topic,
        "at": message.at.isoformat(),
        **shown,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
