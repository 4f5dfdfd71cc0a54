"""Lint of templates: they must be there, read well, and name only what the journeys that send them can hand over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from engine.language import tree
from engine.language.check_expressions import names_at, not_known
from engine.language.content import PROJECT, Content, journey_file
from engine.language.errors import Path, Problem, Wrong, did_you_mean
from engine.language.expression import examine, parse
from engine.language.fields import Refers, marked
from engine.language.graph import Node
from engine.language.types import UNREAD, Kind, Type
from engine.language.vocabulary import TRANSACTIONAL, Names

OWN: dict[str, tuple[str, ...]] = {
    "brand": ("name", "address", "url", "currency"),
    "links": ("unsubscribe", "preferences", "confirm", "survey", "telegram"),
    "locale": (),
    "subject": (),
    "preheader": (),
}
"""What the renderer hands to every template besides the customer and what the journey knows."""


class Use(Protocol):
    """Where a template names a value or calls a function."""

    @property
    def text(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...


class Needs(Protocol):
    """What a template takes, over all its locales."""

    @property
    def fields(self) -> frozenset[str]: ...
    @property
    def uses(self) -> Sequence[Use]: ...
    @property
    def call_uses(self) -> Sequence[Use]: ...
    @property
    def vital(self) -> Sequence[Use]: ...
    @property
    def link_names(self) -> frozenset[str]: ...
    @property
    def shows(self) -> frozenset[str]: ...
    @property
    def has_unsubscribe(self) -> bool: ...
    @property
    def has_address(self) -> bool: ...


class TemplateProblem(Protocol):
    """What is wrong with a template itself."""

    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def message(self) -> str: ...
    @property
    def hint(self) -> str: ...


class Renderer(Protocol):
    """What the lint asks of the renderer; engine.rendering has it."""

    def refs(self) -> Iterator[str]: ...
    def exists(self, ref: str) -> bool: ...
    def locales(self, ref: str) -> Sequence[str]: ...
    def speaks(self, ref: str, locale: str) -> bool: ...
    def gaps(self) -> Sequence[TemplateProblem]: ...
    def problems(self, ref: str) -> Sequence[TemplateProblem]: ...
    def needs(self, ref: str) -> Needs: ...


@dataclass(frozen=True)
class _Sent:
    """A place where a journey sends a template."""

    journey: str
    node: Node
    path: Path
    ref: str
    given: frozenset[str]


def problems(content: Content, renderer: Renderer) -> Iterator[Problem]:
    """Missing templates, faults in them, names that a journey can't hand over, and marketing mail that must not go
    out.
    """
    lines = _Lines(content)
    sound: set[str] = set()
    for ref in renderer.refs():
        faults = renderer.problems(ref)
        for fault in faults:
            yield lines.problem(fault.file, fault.line, fault.message, fault.hint or None)
        if not faults:
            sound.add(ref)
    marketing: list[_Sent] = []
    for sent in _sent(content):
        document = content.documents[journey_file(sent.journey)]
        if not renderer.exists(sent.ref):
            hint = did_you_mean(sent.ref, renderer.refs()) or f"write {_file_of(sent.ref)}"
            yield document.problem(sent.path, f'there is no template "{sent.ref}"', hint)
            continue
        if sent.ref not in sound:
            continue
        needs = renderer.needs(sent.ref)
        unread = content.salvaged.get(sent.journey)
        for problem in chain(_names(content, sent, needs, lines), _too_early(content, sent, needs, lines)):
            if unread is None or not unread.speaks_of_lost(problem.message):
                yield problem
        yield from _pages(content, sent, needs)
        if sent.ref.startswith("email/") and content.journeys[sent.journey].topic != TRANSACTIONAL:
            marketing.append(sent)
            if not needs.has_unsubscribe:
                message = f"{sent.ref} is marketing mail and doesn't show its unsubscribe link to everybody"
                yield document.problem(sent.path, message, "put {{ links.unsubscribe }} into it or its layout")
            if not needs.has_address:
                message = f"{sent.ref} is marketing mail and doesn't show the postal address to everybody"
                yield document.problem(sent.path, message, "put {{ brand.address }} into it or its layout")
    yield from _brand(content, marketing)


PAGES = {
    "confirm": ("confirms a consent", "write confirms: true at this step, or send another template"),
    "survey": ("asks a survey", "write ask: instead of send:, or send another template"),
}
"""The links that only some steps have: what such a step does, and what to do at another."""


def _pages(content: Content, sent: _Sent, needs: Needs) -> Iterator[Problem]:
    """A message that asks something must link its page, and no other can."""
    document, step = content.documents[journey_file(sent.journey)], sent.node.step
    confirms = bool(getattr(step, "confirms", False))
    for link, (does, hint) in PAGES.items():
        asks = sent.node.type == "ask" if link == "survey" else confirms
        if asks and f"links.{link}" not in needs.shows:
            message = f"this step {does}, and {sent.ref} doesn't show the link of the page to everybody"
            yield document.problem(sent.path, message, f"put {{{{ links.{link} }}}} into it")
        elif not asks and link in needs.link_names:
            yield document.problem(sent.path, f"{sent.ref} has links.{link}, and nothing here {does}", hint)
    if "telegram" in needs.link_names and content.project.brand.telegram is None:
        message = f"{sent.ref} has links.telegram, and the shop has no bot there"
        yield document.problem(sent.path, message, f"write telegram: NAME_OF_THE_BOT under brand: in {PROJECT}")
    name = content.journeys[sent.journey].topic or ""
    topic = content.project.topics.get(name)
    if confirms and (topic is None or not topic.double_opt_in):
        message = f'a yes to "{name}" needs no confirmation'
        yield document.problem((*sent.node.path, "confirms"), message, "write double_opt_in: true at this topic")


def notices(content: Content, renderer: Renderer) -> Iterator[Problem]:
    """What is no fault, and may still not be meant: a journey that speaks a language in some of its messages only, and
    what the renderer finds nobody to use, or lacking in one language."""
    lines = _Lines(content)
    for gap in renderer.gaps():
        yield lines.problem(gap.file, gap.line, gap.message, gap.hint or None)
    sent = [one for one in _sent(content) if renderer.exists(one.ref)]
    for journey in dict.fromkeys(one.journey for one in sent):
        yield from _languages(content, renderer, [one for one in sent if one.journey == journey])


def _languages(content: Content, renderer: Renderer, theirs: list[_Sent]) -> Iterator[Problem]:
    """The messages of a journey that lack a language which at least half of them have: so many mean it."""
    refs = dict.fromkeys(one.ref for one in theirs)
    spoken = sorted({locale for ref in refs for locale in renderer.locales(ref) if locale})
    meant = [locale for locale in spoken if 2 * sum(renderer.speaks(ref, locale) for ref in refs) >= len(refs)]
    document = content.documents[journey_file(theirs[0].journey)]
    for one in theirs:
        if lacking := [locale for locale in meant if not renderer.speaks(one.ref, locale)]:
            beside = next(ref for ref in refs if renderer.speaks(ref, lacking[0]))
            stem, _, ending = _file_of(one.ref).rpartition(".")
            message = f"{one.ref} isn't there in {', '.join(lacking)}, as {beside} is"
            yield document.problem(one.path, message, f"write {stem}.{lacking[0]}.{ending}")


def _brand(content: Content, marketing: list[_Sent]) -> Iterator[Problem]:
    document = content.documents[PROJECT]
    if marketing and not content.project.brand.address:
        message = f'the brand has no postal address, and "{marketing[0].journey}" sends marketing mail'
        yield document.problem(("brand",), message, "write address: street, town, country", on_key=True)
    mails = any(sent.ref.startswith("email/") for sent in _sent(content))
    if mails and content.project.brand.sender is None:
        hint = "write sender: {email: hello@duka.example, name: Duka}"
        yield document.problem(("brand",), "the brand has no sender for its mail", hint, on_key=True)


def _sent(content: Content) -> Iterator[_Sent]:
    for name, graph in content.graphs.items():
        for node in graph.nodes.values():
            given = getattr(node.step, "with_", None)
            for found in marked(node.step, lambda value: isinstance(value, tuple)):
                if found.marker == Refers("template"):
                    yield _Sent(name, node, node.path + found.path, found.text, frozenset(given or ()))


def _names(content: Content, sent: _Sent, needs: Needs, lines: _Lines) -> Iterator[Problem]:
    """Every name and function of a template, as the journey that sends it sees them."""
    names = names_at(content, sent.journey, sent.node)
    lets_in = content.journeys[sent.journey].enter.entry_event()  # where that is unknown, it is told there
    for use in needs.uses:
        root, _, rest = use.text.partition(".")
        if root in OWN:
            if rest not in OWN[root] and (rest or OWN[root]):
                yield lines.problem(use.file, use.line, f'unknown name "{use.text}"', did_you_mean(rest, OWN[root]))
        elif root == "with":
            if rest not in sent.given:
                message = f'"{sent.journey}" sends this without "{use.text}"'
                yield lines.problem(
                    use.file, use.line, message, f"write with: {{{rest}: …}} at {sent.node.id}", use.text
                )
        elif use.text in ("customer", "entry", *names.results, *names.saved, *([names.item_as] if names.item else [])):
            yield lines.problem(
                use.file, use.line, f'"{use.text}" is not a value', f"write {use.text}. and a name", use.text
            )
        elif root != "entry" or names.entry is not None or not lets_in:
            yield from _read(use, content, sent, names, lines)
    for use in needs.call_uses:
        yield from _read(use, content, sent, names, lines)
    for field in needs.fields:
        if (wrong := _field(field, content, names)) is not None:
            uses = [use for use in needs.uses if use.text == field.partition("[]")[0]]
            if uses:
                yield lines.problem(uses[0].file, uses[0].line, *wrong)


def _read(use: Use, content: Content, sent: _Sent, names: Names, lines: _Lines) -> Iterator[Problem]:
    anywhere = {fault.message for fault in examine(use.text, Names(), content.vocabulary).faults}
    for fault in examine(use.text, names, content.vocabulary).faults:
        # What is missing only in this journey must say so: another that sends the template may have it.
        of_journey = "entry." in use.text or fault.message not in anywhere
        message = f'{fault.message}, in "{sent.journey}"' if of_journey else fault.message
        yield lines.problem(use.file, use.line, message, fault.hint, use.text)


def _too_early(content: Content, sent: _Sent, needs: Needs, lines: _Lines) -> Iterator[Problem]:
    """What a template can't do without must be known to some customer who comes to the step that sends it."""
    names = names_at(content, sent.journey, sent.node)
    for use in needs.vital:
        name = use.text.partition("[")[0]
        try:
            parts = list(tree.walk(parse(name, names, content.vocabulary)))
        except Wrong:
            continue  # told as an unknown name
        for part in parts:
            if (unknown := not_known(part, sent.node.id, content.graphs[sent.journey])) is not None:
                message = (
                    f'{unknown.named} is {unknown.when} at {sent.node.id} of "{sent.journey}", which sends this: '
                    f"{unknown.why} to that step"
                )
                hint = unknown.hint or f"show it in {{% if {name} is set %}}, or send this after it"
                yield lines.problem(use.file, use.line, message, hint, name)


def _field(field: str, content: Content, names: Names) -> tuple[str, str | None] | None:
    """What is wrong with `entry.items[].name`, or None."""
    listed, _, inner = field.partition("[].")
    try:
        type_: Type | None = parse(listed, names, content.vocabulary).type
    except Wrong:
        return None  # told at the list itself
    if type_ is not None and type_.kind is Kind.UNREAD:
        return None
    if type_ is None or type_.kind is not Kind.LIST:
        return f"{listed} is not a list", None
    for part in inner.split("."):
        if type_ == UNREAD:
            return None
        known = type_.field_names if type_ is not None else ()
        type_ = type_.field(part) if type_ is not None else None
        if type_ is None:
            return f'{listed} has no "{part}" in it', did_you_mean(part, known)
    return None


def _file_of(ref: str) -> str:
    ending = {"email": "mjml", "push": "yaml", "whatsapp": "yaml"}.get(ref.partition("/")[0], "txt")
    return f"templates/{ref}.{ending}"


class _Lines:
    """The source lines of templates, for what problems show of them."""

    def __init__(self, content: Content) -> None:
        self._root = content.root
        self._texts: dict[str, list[str]] = {}

    def problem(
        self, file: str, line: int, message: str, hint: str | None = None, sought: str | None = None
    ) -> Problem:
        """A problem in a line of a template, at the text that is sought or at the line's beginning."""
        if file not in self._texts:
            try:
                self._texts[file] = (self._root / file).read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                self._texts[file] = []
        lines = self._texts[file]
        if not 0 < line <= len(lines):
            return Problem(file, line, 1 if line else 0, "", message, hint)
        source = lines[line - 1]
        at = source.find(sought) if sought else -1
        return Problem(
            file, line, (at if at >= 0 else len(source) - len(source.lstrip())) + 1, "", message, hint, source
        )
