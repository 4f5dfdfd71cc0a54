"""Puts the program together: settings, content, database, channels, sources, renderer, runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from engine.builtins import registry
from engine.channels.base import Channel, Sender, Surroundings
from engine.cohort.gate import TEAM
from engine.language import check_sources
from engine.language.content import Content, load
from engine.language.errors import ContentError
from engine.language.registry import Registry
from engine.rendering.links import Subscriptions
from engine.rendering.renderer import Renderer
from engine.runtime.clock import Clock, SystemClock
from engine.runtime.door import Door
from engine.runtime.post import CHAT, Post
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
            opened[name] = kind.open(kind.Options.model_validate(dict(provider.options)), surroundings)
        if CHAT in self.content.project.team.values():
            kind = self.registry.channels[CHAT]
            opened[TEAM] = kind.open(kind.Options(), surroundings)
        return opened

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
        return Post(self.channels, self.renderer, sender, self.subscriptions.link, self.content.project.team)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """Makes and reads unsubscribe links."""
        return Subscriptions([self.settings.secret], self.settings.public_url)

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
