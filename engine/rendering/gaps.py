"""What a project's templates lack, though each of them can be sent: a language, a part in one language, a reader.

None of it is a fault: a customer gets the message, but not as whoever wrote it may think.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.rendering.sources import SUFFIXES, Sources
from engine.rendering.template import Compiled
from engine.rendering.values import TemplateProblem

_ALWAYS = frozenset({"subject", "html", "text", "title", "body"})
"""Parts that a template can't be without, or that are made where they are not written."""


def speaks(locales: Iterable[str], locale: str, default: str) -> bool:
    """Whether a template written in these locales says something in the language of this one."""
    wanted = locale.partition("-")[0]
    return any((one or default).partition("-")[0] == wanted for one in locales)


def gaps(root: Path, sources: Sources, default: str, compiled: list[Compiled]) -> Iterator[TemplateProblem]:
    """Files that nothing uses, and parts that are there in some languages and missing in another, where they stand."""
    yield from _unread(root, sources)
    used = {line.file for one in compiled for lines, _ in one.takes for line in lines.lines}
    for file in _shared(root):
        if file not in used:
            yield TemplateProblem(file, 1, "no template uses this", "put it in, or remove it")
    for one in compiled:
        yield from _untranslated(root, sources, one, default)
    for ref in dict.fromkeys(one.ref for one in compiled):
        yield from _parts(sources, [one for one in compiled if one.ref == ref])


def _unread(root: Path, sources: Sources) -> Iterator[TemplateProblem]:
    """Files whose names no template has: a locale written otherwise, a text part without its mail."""
    for channel, suffix in SUFFIXES.items():
        endings = (suffix, ".txt") if channel == "email" else (suffix,)
        for path in sorted((root / "templates" / channel).glob("*")):
            ending = next((one for one in endings if path.name.endswith(one)), None)
            if ending is None:
                continue
            name, _, locale = path.name[: -len(ending)].partition(".")
            if locale not in sources.locales(f"{channel}/{name}"):
                wanted = (
                    f"write templates/{channel}/{name}{suffix}, or with a locale like sw or pt-BR before the ending"
                )
                file = f"templates/{channel}/{path.name}"
                yield TemplateProblem(file, 1, "nobody gets this: its name is no template's", wanted)


def _shared(root: Path) -> Iterator[str]:
    for kind in ("layouts", "blocks"):
        for path in sorted((root / "templates" / kind).rglob("*")):
            if path.suffix in (".mjml", ".txt") and path.is_file():
                yield path.relative_to(root).as_posix()


def _untranslated(root: Path, sources: Sources, one: Compiled, default: str) -> Iterator[TemplateProblem]:
    """Blocks and layouts that speak another language than the template they stand in, though they speak several."""
    if not one.locale:
        return
    own = sources.path(one.ref, one.locale)
    for file in dict.fromkeys(line.file for lines, _ in one.takes for line in lines.lines):
        if not file.startswith(("templates/layouts/", "templates/blocks/")):
            continue
        path = Path(file)
        name, _, locale = path.stem.partition(".")
        others = [other.stem.partition(".")[2] for other in (root / path.parent).glob(f"{name}.*{path.suffix}")]
        if len(others) > 1 and (locale or default).partition("-")[0] != one.locale.partition("-")[0]:
            wanted = f"write {path.parent.as_posix()}/{name}.{one.locale}{path.suffix}"
            yield TemplateProblem(file, 1, f"{own} puts this in, and it isn't there in {one.locale}", wanted)


def _parts(sources: Sources, written: list[Compiled]) -> Iterator[TemplateProblem]:
    """Parts that one language of a template lacks and another has: a preheader, a push's link, an own text part."""
    own = {one.locale: set(one.parts) - _ALWAYS for one in written}
    for locale in own:
        if sources.has(sources.path(written[0].ref, locale, ".txt")) and written[0].ref.startswith("email/"):
            own[locale].add("text part of its own")
    there = set().union(*own.values())
    for locale, parts in own.items():
        for part in sorted(there - parts):
            having = sources.path(written[0].ref, next(one for one in own if part in own[one]))
            file = sources.path(written[0].ref, locale)
            yield TemplateProblem(file, 1, f"this has no {part}, and {having} has one")
