"""The templates of a project: what they need, what is wrong with them, and the finished message for one customer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from engine.rendering import cell
from engine.rendering.addresses import origins
from engine.rendering.budget import Budget
from engine.rendering.gaps import gaps, speaks
from engine.rendering.shown import mail_locale, plain
from engine.rendering.sources import Sources
from engine.rendering.template import OWN, Compiled
from engine.rendering.values import BrokenTemplate, Links, Needs, Rendered, RenderError, TemplateProblem, Use


class Brand(Protocol):
    """What a template may know of the shop (project.yaml's `brand`)."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def timezone(self) -> str: ...
    @property
    def locale(self) -> str: ...
    @property
    def currency(self) -> str: ...


class HasBrand(Protocol):
    """A project, as far as rendering is concerned."""

    @property
    def brand(self) -> Brand: ...


class Renderer:
    """Compiles each template once, when it is first asked for, and renders it for as many customers as there are.

    `root` holds `templates/`. Safe to use from several threads.
    """

    def __init__(self, root: Path, project: HasBrand) -> None:
        brand = project.brand
        self._root = root
        self._sources = Sources(root, brand.locale)
        self._default = brand.locale
        self._zone = brand.timezone
        url = str(getattr(brand, "url", "") or "").rstrip("/")
        self._origins = frozenset(origins(url))
        self._brand = {"name": brand.name, "address": brand.address, "url": url or None, "currency": brand.currency}
        self._compiled: dict[tuple[str, str], Compiled | BrokenTemplate] = {}
        self._picked: dict[tuple[str, str | None], str | None] = {}
        self._lock = threading.Lock()

    def refs(self) -> Iterator[str]:
        """Every template there is: `email/welcome`, …"""
        return self._sources.refs()

    def exists(self, ref: str) -> bool:
        return bool(self._sources.locales(ref))

    def locales(self, ref: str) -> tuple[str, ...]:
        """The locales a template is written in; `""` is the file that names none."""
        return self._sources.locales(ref)

    def problems(self, ref: str) -> tuple[TemplateProblem, ...]:
        """Everything wrong with a template, in all its locales; with its place."""
        found: list[TemplateProblem] = []
        for locale in self._sources.locales(ref):
            try:
                self._template(ref, locale)
            except BrokenTemplate as broken:
                found += broken.problems
        if self._sources.pick(ref, None) is None and self._sources.locales(ref):
            file = self._sources.path(ref, self._sources.locales(ref)[0])
            wanted = self._sources.path(ref, "")
            found.append(TemplateProblem(file, 1, "customers of other locales get nothing", f"write {wanted}"))
        return tuple(dict.fromkeys(found))

    def speaks(self, ref: str, locale: str) -> bool:
        """Whether a template is written in the language of this locale."""
        return speaks(self._sources.locales(ref), locale, self._default)

    def gaps(self) -> tuple[TemplateProblem, ...]:
        """Shared parts and files that nothing uses, and parts that some languages lack. Empty while a template can't
        be read: what it uses isn't known."""
        try:
            every = [self._template(ref, locale) for ref in self.refs() for locale in self.locales(ref)]
        except BrokenTemplate:
            return ()
        return tuple(dict.fromkeys(gaps(self._root, self._sources, self._default, every)))

    def needs(self, ref: str) -> Needs:
        """What a template takes in any of its locales. BrokenTemplate when none of them can be read."""
        compiled = [self._template(ref, locale) for locale in self._sources.locales(ref)]
        if not compiled:
            raise BrokenTemplate(TemplateProblem(f"templates/{ref}", 0, f'there is no template "{ref}"'))
        uses: dict[Use, None] = {}
        calls: dict[Use, None] = {}
        vital: dict[Use, None] = {}
        fields: set[str] = set()
        for lines, found in (take for one in compiled for take in one.takes):
            for kind, named in ((uses, found.names), (calls, found.calls), (vital, found.vital)):
                kind |= {Use(text, lines.at(number).file, lines.at(number).number): None for text, number in named}
            fields |= {text for text, _ in found.fields}
        links = frozenset(use.text.removeprefix("links.") for use in uses if use.text.startswith("links."))
        uses = {use: None for use in uses if use.text.partition(".")[0] not in OWN}
        names = frozenset(use.text for use in uses)
        return Needs(
            names=names,
            fields=frozenset(fields),
            calls=tuple(dict.fromkeys(use.text for use in calls)),
            uses=tuple(uses),
            call_uses=tuple(calls),
            vital=tuple(vital),
            links=bool(links),
            link_names=links,
            shows=frozenset.intersection(*(one.shown for one in compiled)),
            has_unsubscribe=all("links.unsubscribe" in one.shown for one in compiled),
            has_address=all("brand.address" in one.shown for one in compiled),
        )

    def render(self, ref: str, locale: str | None, values: Mapping[str, Any], links: Links) -> Rendered:
        """The message for one customer of this locale.

        `values`: plain nested dicts and lists (`customer`, `entry`, …; money as Money, instants as aware datetimes),
        the results of functions by expression text in `_calls`. None is missing. RenderError when it can't be said to
        them.
        """
        key = (ref, locale)
        if key not in self._picked:
            self._picked[key] = self._sources.pick(ref, locale)
        file_locale = self._picked[key]
        if file_locale is None:
            raise RenderError("no_template", f"{ref} has no version for this locale")
        try:
            template = self._template(ref, file_locale)
        except BrokenTemplate as broken:
            raise RenderError("broken_template", str(broken.problems[0])) from None
        written = file_locale or self._default
        customer = values.get("customer")
        zone = customer.get("timezone") if isinstance(customer, dict) else None
        rendered = template.render(
            {
                "_calls": {},
                **values,
                "brand": self._brand,
                "links": asdict(links),
                "locale": mail_locale(written, locale),
                "_zone": _zone(zone, self._zone),
                "_budget": Budget(),
            }
        )
        return replace(rendered, locale=written)

    def shown(self, value: Any, locale: str | None = None, zone: str | None = None) -> str:
        """A value as a template would show it without a filter: to a customer of this locale and time zone, or to the
        shop's own people."""
        return plain({"brand": self._brand, "locale": locale or self._default, "_zone": _zone(zone, self._zone)}, value)

    def _template(self, ref: str, locale: str) -> Compiled:
        key = (ref, locale)
        found = self._compiled.get(key)
        if found is None:
            with self._lock:
                try:
                    found = self._compiled.get(key) or Compiled.of(
                        cell.read(self._root, self._default, ref, self._sources.path(ref, locale), locale),
                        self._origins,
                    )
                except BrokenTemplate as broken:
                    found = broken
                self._compiled[key] = found
        if isinstance(found, BrokenTemplate):
            raise BrokenTemplate(*found.problems)
        return found


@lru_cache(maxsize=1024)
def _zone(name: str | None, default: str) -> ZoneInfo:
    for one in (name, default):
        try:
            if one:
                return ZoneInfo(one)
        except (ValueError, OSError, LookupError):
            continue
    return ZoneInfo("UTC")
