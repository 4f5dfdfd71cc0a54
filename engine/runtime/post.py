"""What delivery needs of the world, and the making and handing over of one message."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from engine.channels.base import Channel, InDoubt, Limits, Many, Outgoing, Refused, Result, Sender
from engine.cohort.gate import TEAM
from engine.language.gate import Rate
from engine.language.vocabulary import TRANSACTIONAL
from engine.rendering.links import Chats, Confirmation, Pages, Preferences, Question, Subscription
from engine.rendering.renderer import Renderer
from engine.rendering.shared import shared
from engine.rendering.values import Links, Rendered, RenderError
from engine.runtime import calls, letters
from engine.runtime.breakers import Breakers
from engine.runtime.calls import Caller
from engine.runtime.clock import Clock, VirtualClock
from engine.runtime.letters import Letter
from engine.runtime.waves import FRESH, Waves

CHAT = "apprise"
"""Written in place of an address of the shop's people: they are told by the channel of notices."""

log = logging.getLogger("karibu.delivery")


@dataclass(frozen=True)
class Post:
    """What delivery needs of the world. `unsubscribe` makes the link that ends a subscription, `pages` those to
    customers' other pages, `chats` the one to the shop's bot; `track` puts our own pixel and click links into the
    HTML of mails, and `shorten` short links into texts, where somebody wants them; `seal` puts our mark on a mail's id;
    `caller`: who asks other systems; `threads`: how many messages are handed over at once to a channel that takes them
    one by one, if it doesn't say fewer; `rates`: of the channels that have one."""

    channels: Mapping[str, Channel]
    renderer: Renderer
    sender: Sender
    unsubscribe: Callable[[Subscription], str]
    team: Mapping[str, str] = field(default_factory=dict)
    caller: Caller | None = None
    threads: int = 8
    rates: Mapping[str, Rate] = field(default_factory=dict)
    breakers: Breakers = field(default_factory=Breakers)
    waves: Waves = field(default_factory=Waves)
    pages: Pages | None = None
    chats: Chats | None = None
    track: Callable[..., str] | None = None
    shorten: Callable[[Rendered, str], tuple[str, Mapping[str, str]]] | None = None
    seal: Callable[[str], str] | None = None

    def make(self, letter: Letter, now: datetime) -> Outgoing:
        """Render a letter. Raises RenderError when it can't be."""
        if letter.call is not None:
            return calls.made(letter, self.sender, now)
        transactional = letter.topic == TRANSACTIONAL
        url = None
        short: Mapping[str, str] = {}
        if not transactional:
            whom = letter.external_id, letter.channel, letter.topic, letter.locale or "", letter.ref
            url = self.unsubscribe(Subscription(*whom))
        if letter.route == TEAM:
            content: Any = letters.notice(letter)
            to, channel = self.team.get(letter.template, ""), "email"
            if not to:
                raise RenderError("no_template", f"project.yaml's team has no {letter.template}")
            if to == CHAT:
                to, channel = letter.template, TEAM
        else:
            links = self._links(letter, url, now)
            content = self.renderer.render(letter.template, letter.locale, letter.values, links)
            to, channel = letter.address, letter.channel
            if self.track is not None and channel == "email":
                content = replace(content, html=self.track(content.html, letter.ref, url))
            elif self.shorten is not None and channel != "email":
                text, short = self.shorten(content, letter.ref)
                content = replace(content, text=text)
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
            shared=shared(content) if self._shares(channel) else None,
            message_id=self.seal(letter.ref) if self.seal is not None and channel == "email" else "",
            links=short,
        )

    def _links(self, letter: Letter, unsubscribe: str | None, now: datetime) -> Links:
        """The links of a message: to sign one takes as long as to render a line, so only those that are shown."""
        pages, locale = self.pages, letter.locale or ""
        if pages is None or not letter.links - {"unsubscribe"}:
            return Links(unsubscribe)
        confirm = survey = None
        if letter.confirms and letter.address_hash:
            asked = letter.external_id, letter.channel, letter.topic, letter.address_hash
            confirm = pages.confirm(Confirmation(*asked, now, locale))
        if letter.survey:
            survey = pages.survey(Question(letter.ref, letter.survey, now, locale))
        whom = letter.external_id, letter.channel, letter.address_hash or "", locale
        whose = Preferences(*whom, letter.ref, letter.topic)
        chat = self.chats.link(letter.customer_id, letter.external_id) if self.chats is not None else None
        return Links(unsubscribe, pages.preferences(whose), confirm, survey, chat)

    def _shares(self, channel: str) -> bool:
        """Whether this channel sends mails in one request that differ in values only."""
        return limits_of(self.channels.get(channel)).batch > 1

    def repeatable(self) -> frozenset[str]:
        """The channels that overwrite their own messages: a repeat does no harm."""
        return frozenset(name for name, channel in self.channels.items() if getattr(channel, "idempotent", False))

    def rate(self, channel: str) -> tuple[str, Rate] | None:
        """By which channel messages of this one go, and its rate, if it has one."""
        limited = sorted(self._ways(channel) & self.rates.keys())
        return (limited[0], self.rates[limited[0]]) if limited else None

    def silent(self, channel: str, now: datetime) -> bool:
        """Whether this channel of a message is left alone for now."""
        return not self.breakers.open(now).isdisjoint(self._ways(channel))

    def doubted(self, channel: str) -> bool:
        """Whether one message of this channel is to go first, to see whether the provider takes it."""
        return any(map(self.breakers.doubted, self._ways(channel)))

    def _ways(self, channel: str) -> set[str]:
        """By which channels messages of this one leave: notices to the team by mail or chat."""
        if channel != TEAM:
            return {channel}
        return {TEAM if to == CHAT else "email" for to in self.team.values()}

    def send(self, outgoing: Outgoing, now: datetime) -> Result:
        """Hand one message over that nobody asked the gate about. Never raises."""
        (result,) = self.send_all([outgoing], VirtualClock(now), now)
        return Refused("provider_away") if result is None else result

    def send_all(self, wave: Sequence[Outgoing], clock: Clock, asked: datetime) -> list[Result | None]:
        """Hand messages over, about which the gate was asked at that time; what became of each, in their order. None
        for one whose turn came so late that the gate has to be asked again. Never raises."""
        results: list[Result | None] = [None] * len(wave)
        by_channel: dict[str, list[int]] = {}
        for at, outgoing in enumerate(wave):
            by_channel.setdefault(outgoing.channel, []).append(at)
        for name, turns in by_channel.items():
            self._hand_over(_Turns(self, name, clock, asked, wave, turns, results))
        return results

    def _hand_over(self, turns: _Turns) -> None:
        messages = [turns.wave[at] for at in turns.places]
        asks = messages[0].request is not None  # a channel of calls has nothing but calls
        channel = self.caller if asks else self.channels.get(turns.channel)
        if channel is None:
            for turn in range(len(messages)):
                turns.settle(turn, Refused("no_channel"))
        elif isinstance(channel, Many):
            try:
                channel.send_many(messages, turns.fresh, turns.settle)
            except Exception as error:
                turns.broken(error)
        else:
            most = min(self.threads, limits_of(channel).at_once, len(messages))
            with ThreadPoolExecutor(max(1, most)) as pool:
                list(pool.map(partial(turns.one, channel), range(len(messages))))


def limits_of(channel: Channel | Caller | None) -> Limits:
    """What a channel takes; a third party's may not have said."""
    return getattr(channel, "limits", Limits())


@dataclass(frozen=True)
class _Turns:
    """The part of a wave that one channel takes: `places` are those of its messages in the wave and in `results`."""

    post: Post
    channel: str
    clock: Clock
    asked: datetime
    wave: Sequence[Outgoing]
    places: Sequence[int]
    results: list[Result | None]

    def fresh(self) -> bool:
        """Whether another message may leave: the gate's word is fresh, and the provider takes messages."""
        now = self.clock.now()
        return now - self.asked <= FRESH and self.channel not in self.post.breakers.open(now)

    def settle(self, turn: int, result: Result) -> None:
        """Keep what became of one."""
        self.results[self.places[turn]] = result
        self.post.breakers.heard(self.channel, result, self.clock.now())

    def one(self, channel: Channel | Caller, turn: int) -> None:
        """Hand over one message by itself."""
        if self.fresh():
            try:
                result = channel.send(self.wave[self.places[turn]])
            except Exception as error:
                result = self._doubt(error)
            self.settle(turn, result)

    def broken(self, error: Exception) -> None:
        """The channel broke its word and raised: nobody knows which of those that it told nothing about have left."""
        doubt = self._doubt(error)
        for turn, place in enumerate(self.places):
            if self.results[place] is None:
                self.settle(turn, doubt)

    def _doubt(self, error: Exception) -> InDoubt:
        log.error("channel %s failed: %s", self.channel, type(error).__name__)
        return InDoubt(f"error:{type(error).__name__}")
