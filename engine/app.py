"""Puts the program together: settings, content, database, channels, sources, renderer, runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.builtins import registry
from engine.channels.base import Channel, ConfigurationError, Sender, Surroundings, is_here
from engine.channels.call import HereOnly, HttpCaller
from engine.cohort.gate import TEAM
from engine.guarded.client import Guarded, origins
from engine.language import check_sources
from engine.language.content import Content, load
from engine.language.errors import ContentError
from engine.language.registry import Registry, declared
from engine.rendering.links import Chats, Pages, Seals, Subscriptions
from engine.rendering.renderer import Renderer
from engine.rendering.short import Shortener
from engine.rendering.tracking import Tracking
from engine.runtime.calls import Caller
from engine.runtime.clock import Clock, SystemClock
from engine.runtime.door import Door
from engine.runtime.post import CHAT, Post, limits_of
from engine.runtime.runtime import Runtime
from engine.runtime.sightings import Sightings
from engine.settings import Settings
from engine.store.database import Database
from triggers.sources.base import Source


@dataclass(frozen=True)
class Opened:
    """A source as project.yaml sets it up. `named`: the settings of its secrets; `secrets`: those that are set."""

    source: Source
    named: tuple[str, ...]
    secrets: tuple[str, ...] = field(repr=False)


FAKED = {"email": "sendgrid", "sms": "twilio", "whatsapp": "twilio", "telegram": "telegram"}
"""Who carries a channel's messages to the fake provider. Where nobody does they become files: none leaves the house."""

FILES = "maildir"

KEPT = ("database", "runtime", "sightings")
"""The parts that outlive the project's files."""


@dataclass
class App:
    """One project with everything it runs on; each part is made when it is first used."""

    settings: Settings
    clock: Clock

    @classmethod
    def of(cls, root: Path | None = None, clock: Clock | None = None) -> App:
        return cls(Settings.of(root), clock or SystemClock())

    @property
    def registry(self) -> Registry:
        return registry()

    @cached_property
    def content(self) -> Content:
        """The project's files. Raises ContentError with everything that is wrong with them."""
        return load(self.settings.root, self.registry)

    @cached_property
    def database(self) -> Database:
        """The database, its tables at the newest revision."""
        if self.settings.database_url is None:
            self.settings.data.mkdir(parents=True, exist_ok=True)
        database = Database(self.settings.database)
        database.migrate()
        return database

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(self.settings.root, self.content.project)

    @cached_property
    def door(self) -> Door:
        return Door(self.content.project, self.content.vocabulary, self.settings.secret, self.sightings)

    @cached_property
    def sightings(self) -> Sightings:
        """What comes through the door, counted; somebody must write it now and then."""
        return Sightings()

    @cached_property
    def channels(self) -> dict[str, Channel]:
        """The project's channels, opened: email, sms, …"""
        surroundings = Surroundings(self.settings.mail, self.settings.value_of, self.settings.value_of)
        opened: dict[str, Channel] = {}
        for name, provider in self.content.project.channels.items():
            kind = self.registry.channels[provider.provider]
            options = kind.Options.model_validate(dict(provider.options))
            if self._fake:
                kind, options = self._faked(name)
            opened[name] = kind.open(options, surroundings)
        if CHAT in self.content.project.team.values():
            kind = self.registry.channels[CHAT]
            kind, options = self._faked(TEAM) if self._fake else (kind, kind.Options())
            opened[TEAM] = kind.open(options, surroundings)
        return opened

    @property
    def _fake(self) -> bool:
        return self.settings.provider == "fake"

    def _faked(self, name: str) -> tuple[Any, Any]:
        """The channel, and its options, that takes the place of the project's own: nothing leaves the machine by it."""
        instead = FAKED.get(name, FILES)
        if name in FAKED and not is_here(urlsplit(self.settings.value_of(f"{instead}_base_url") or "").hostname or ""):
            raise ConfigurationError(
                f"KARIBU_PROVIDER is fake, and KARIBU_{instead.upper()}_BASE_URL leads away from this machine: "
                "karibu up --provider fake sets both"
            )
        kind = self.registry.channels[instead]
        return kind, kind.Options()

    @cached_property
    def sources(self) -> dict[str, Opened]:
        """The project's sources of webhooks with their secrets, by name. Without a secret there is nothing to verify
        with: such a source takes nothing. Raises ContentError."""
        if wrong := list(check_sources.problems(self.content, self.registry)):
            raise ContentError(wrong)
        opened: dict[str, Opened] = {}
        for name, connected in self.content.project.sources.items():
            kind = self.registry.sources[connected.source or name]
            options = kind.Options.model_validate(dict(connected.options))
            named = options.secret or (f"{name.replace('-', '_')}_secret",)
            secrets = tuple(filter(None, map(self.settings.secret_of, named)))
            opened[name] = Opened(kind(options), named, secrets)
        return opened

    @cached_property
    def post(self) -> Post:
        brand = self.content.project.brand
        sender = Sender(brand.sender.name, brand.sender.email) if brand.sender else Sender(brand.name)
        project, team = self.content.project, self.content.project.team
        told = {name: provider.rate for name, provider in project.channels.items()}
        rates = {
            name: rate
            for name, channel in self.channels.items()
            if (rate := told.get(name) or limits_of(channel).rate) is not None
        }
        link, caller = self.subscriptions.link, self.caller
        track = self.tracking.tracked if self._tracks() else None
        return Post(
            self.channels,
            self.renderer,
            sender,
            link,
            team,
            caller,
            rates=rates,
            pages=self.pages,
            chats=self.chats,
            track=track,
            shorten=self.shortener.shortened if project.tracking.clicks else None,
            seal=self.seals.made,
        )

    @cached_property
    def caller(self) -> Caller:
        """Who asks other systems; beside the fake provider, those of this machine only. Raises ConfigurationError."""
        try:
            guard = Guarded(inside=origins(self.settings.inside_origins))
        except ValueError as error:
            raise ConfigurationError(f"KARIBU_INSIDE_ORIGINS: {error}") from None
        signing = self.settings.value_of("outgoing_secret")
        caller = HttpCaller(guard, lambda name: self.settings.secret_of(f"call_{name}"), signing)
        return HereOnly(caller) if self._fake else caller

    def _tracks(self) -> bool:
        """Whether mails carry a pixel and links of ours: where they are wanted, and the provider has none."""
        wanted, mails = self.content.project.tracking, self.channels.get("email")
        mark = None if mails is None else declared(type(mails))
        theirs = self.registry.returns.get(mark.name) if mark is not None else None
        return (wanted.opens or wanted.clicks) and not getattr(theirs, "opens", False)

    @cached_property
    def tracking(self) -> Tracking:
        """Makes and reads the links that tell of opens and clicks."""
        wanted = self.content.project.tracking
        return Tracking([self.settings.secret], self.settings.public_url, opens=wanted.opens, clicks=wanted.clicks)

    @cached_property
    def shortener(self) -> Shortener:
        """Makes the short links of texts."""
        return Shortener(self.settings.secret, self.settings.public_url)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """Makes and reads unsubscribe links."""
        return Subscriptions([self.settings.secret], self.settings.public_url)

    @cached_property
    def seals(self) -> Seals:
        """Puts our mark on the ids of mails, and knows it again."""
        return Seals([self.settings.secret])

    @cached_property
    def pages(self) -> Pages:
        """Makes and reads the links of customers' other pages."""
        return Pages([self.settings.secret], self.settings.public_url)

    @cached_property
    def chats(self) -> Chats | None:
        """Makes and reads the links to the shop's bot, where it has one."""
        bot = self.content.project.brand.telegram
        return None if bot is None else Chats([self.settings.secret], bot)

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime(self.database, self.content, self.registry, self.clock, self.post)

    def anew(self) -> App:
        """The same program over the project's files as they are now; what is KEPT stays."""
        fresh = App(self.settings, self.clock)
        fresh.__dict__.update({name: self.__dict__[name] for name in KEPT if name in self.__dict__})
        return fresh

    def close(self) -> None:
        """Let go of the database and the channels."""
        if "database" in self.__dict__:
            self.database.dispose()
        for channel in self.__dict__.get("channels", {}).values():
            channel.close()
