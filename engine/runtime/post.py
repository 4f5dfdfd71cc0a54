"""What delivery needs of the world, and the making and handing over of one message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from engine.channels.base import Channel, InDoubt, Outgoing, Refused, Result, Sender
from engine.cohort.gate import TEAM
from engine.language.vocabulary import TRANSACTIONAL
from engine.rendering.links import Subscription
from engine.rendering.renderer import Renderer
from engine.rendering.values import Links, RenderError
from engine.runtime import letters
from engine.runtime.breakers import Breakers
from engine.runtime.letters import Letter
from engine.runtime.waves import Waves

TEAMS_CHANNEL = "email"
"""By which notices to the shop's own people go."""

log = logging.getLogger("karibu.delivery")


@dataclass(frozen=True)
class Post:
    """What delivery needs of the world. `unsubscribe` makes the link that ends a subscription; `track` puts our
    own pixel and click links into the HTML of mails, where somebody wants them; `threads`: how many
    messages are handed over at once."""

    channels: Mapping[str, Channel]
    renderer: Renderer
    sender: Sender
    unsubscribe: Callable[[Subscription], str]
    team: Mapping[str, str] = field(default_factory=dict)
    threads: int = 8
    breakers: Breakers = field(default_factory=Breakers)
    waves: Waves = field(default_factory=Waves)
    track: Callable[..., str] | None = None

    def make(self, letter: Letter, now: datetime) -> Outgoing:
        """Render a letter. Raises RenderError when it can't be."""
        transactional = letter.topic == TRANSACTIONAL
        url = None
        if not transactional:
            url = self.unsubscribe(Subscription(letter.external_id, letter.channel, letter.topic, letter.locale or ""))
        if letter.route == TEAM:
            content: Any = letters.notice(letter)
            to, channel = self.team.get(letter.template, ""), TEAMS_CHANNEL
            if not to:
                raise RenderError("no_template", f"project.yaml's team has no {letter.template}")
        else:
            content = self.renderer.render(letter.template, letter.locale, letter.values, Links(unsubscribe=url))
            to, channel = letter.address, letter.channel
            if self.track is not None and channel == "email":
                content = replace(content, html=self.track(content.html, letter.ref, url))
        return Outgoing(
            ref=letter.ref,
            channel=channel,
            to=to,
            to_name=letter.name,
            content=content,
            sender=self.sender,
            at=now,
            topic=letter.topic,
            transactional=transactional,
            unsubscribe_url=url,
            labels={"journey": letter.journey, "step": letter.step},
        )

    def repeatable(self) -> frozenset[str]:
        """The channels that overwrite their own messages: a repeat does no harm."""
        return frozenset(name for name, channel in self.channels.items() if getattr(channel, "idempotent", False))

    def silent(self, channel: str, now: datetime) -> bool:
        """Whether this channel of a message is left alone for now."""
        return (TEAMS_CHANNEL if channel == TEAM else channel) in self.breakers.open(now)

    def doubted(self, channel: str) -> bool:
        """Whether one message of this channel is to go first, to see whether the provider takes it."""
        return self.breakers.doubted(TEAMS_CHANNEL if channel == TEAM else channel)

    def send(self, outgoing: Outgoing, now: datetime) -> Result:
        """Hand a message over. Never raises."""
        result = self._send(outgoing)
        self.breakers.heard(outgoing.channel, result, now)
        return result

    def _send(self, outgoing: Outgoing) -> Result:
        channel = self.channels.get(outgoing.channel)
        if channel is None:
            return Refused("no_channel")
        try:
            return channel.send(outgoing)
        except Exception as error:  # a channel that breaks its word: nobody knows what left the house
            log.error("channel %s failed: %s", outgoing.channel, type(error).__name__)
            return InDoubt(f"error:{type(error).__name__}")
