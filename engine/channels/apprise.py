"""Notices to the shop's own people where they chat: Slack, Teams, Telegram and what else Apprise knows.

Addresses: https://github.com/caronc/apprise/wiki. They hold secrets, so each is a setting: `team: {ops: apprise}` in
project.yaml is KARIBU_TEAM_OPS. Apprise says yes or no and not why, so its no is in doubt: a notice is never repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar, Self

from engine.channels.base import Accepted, ChannelOptions, InDoubt, Limits, Outgoing, Refused, Result, Surroundings
from engine.language.registry import channel


@channel("apprise")
class Apprise:
    """Tells the shop's people by Slack, Teams, Telegram, …: for `notify`."""

    carries: ClassVar[frozenset[str]] = frozenset({"team"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(size=4_000, at_once=4)
    Options: ClassVar[type[ChannelOptions]] = ChannelOptions

    def __init__(self, address_of: Callable[[str], str | None]) -> None:
        self._address_of = address_of

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its words quote addresses
        return cls(surroundings.secret)

    def send(self, message: Outgoing) -> Result:
        import apprise  # takes long, and few need it

        name = f"team_{message.to}"
        address = self._address_of(name)
        # What the team is told goes where the setting says, and nowhere that the other side leads.
        where = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not address or not where.add(address):
            return Refused(f"bad_address: KARIBU_{name.upper()} is not set, or is no address of Apprise's")
        content = message.content
        told = where.notify(title=content.subject, body=content.text[: self.limits.size])
        return Accepted(message.ref) if told else InDoubt("apprise: not confirmed")

    def close(self) -> None:
        """Nothing is held open between notices."""
