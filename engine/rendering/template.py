"""One template in one locale: read into code (in the cell), and filled in for a customer (here).

read_template(sources, ref, locale) → Read        a process of its own, see engine.rendering.cell
Compiled.of(read).render(values)    → Rendered    in this one, under a Budget
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import TemplateError

from engine.rendering.addresses import origins
from engine.rendering.analysis import Findings, analyse, prepared
from engine.rendering.budget import TooBig
from engine.rendering.liquid import in_words
from engine.rendering.sandbox import Sandbox
from engine.rendering.shared import own
from engine.rendering.skeleton import lay_out
from engine.rendering.sources import SUFFIXES, Lines, Sources, front_matter
from engine.rendering.tags import mask, tidied
from engine.rendering.values import BrokenTemplate, Pieces, Rendered, RenderError, TemplateProblem
from engine.rendering.vital import vital
from engine.rendering.whatsapp import VARIABLE, read_whatsapp

HTML = Sandbox(autoescape=True)
TEXT = Sandbox(autoescape=False)
FRONT = {
    "email": frozenset({"subject", "preheader", "layout"}),
    "sms": frozenset({"layout"}),
    "telegram": frozenset({"layout"}),
}
# What the renderer itself gives to every template; `subject` and `preheader` only to a mail's body.
OWN: Mapping[str, frozenset[str]] = {
    "brand": frozenset({"name", "address", "url", "currency"}),
    "links": frozenset({"unsubscribe", "preferences", "confirm", "survey", "telegram"}),
    "locale": frozenset(),
    "subject": frozenset(),
    "preheader": frozenset(),
}
_DEEP = "the tags of this template are nested too deep"
_BLANKS = re.compile(r"\n[ \t]*(?:\n[ \t]*)+\n")
_ONE_LINE = ("subject", "preheader", "title", "url")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Read:
    """A template that was read: the marshalled code of its parts (subject, preheader, html, text, title, body, url),
    and what each reads. Plain data, so that it can come from another process of the same Python."""

    ref: str
    locale: str
    codes: Mapping[str, bytes]
    takes: tuple[tuple[Lines, Findings], ...]
    shown: frozenset[str] = field(default_factory=frozenset)
    content: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template ready to render. `takes` says what each part reads; `shown`, what it shows to everybody; `fixed` are
    the identities of its own words; `origins`: of the addresses that it writes; `content`: the id of the template that
    WhatsApp has approved."""

    ref: str
    locale: str
    parts: Mapping[str, Template]
    takes: tuple[tuple[Lines, Findings], ...]
    shown: frozenset[str] = field(default_factory=frozenset)
    fixed: frozenset[int] = field(default_factory=frozenset)
    origins: frozenset[str] = field(default_factory=frozenset)
    content: str = ""

    @classmethod
    def of(cls, read: Read, brands: frozenset[str]) -> Compiled:
        """The template of what was read. `brands`: the origins that every template may write."""
        parts = {}
        for name, code in read.codes.items():
            sandbox = HTML if name == "html" else TEXT
            parts[name] = sandbox.template_class.from_code(sandbox, marshal.loads(code), {})
        words = list(own(part.root_render_func.__code__ for part in parts.values()))
        fixed, hosts = frozenset(map(id, words)), brands.union(*map(origins, words))
        return cls(read.ref, read.locale, parts, read.takes, read.shown, fixed, hosts, read.content)

    def render(self, values: dict[str, Any]) -> Rendered:
        """The message for one customer. RenderError: why they can't get it."""
        done: dict[str, Any] = {}
        pieces: dict[str, Pieces] = {}
        try:
            for name, template in self.parts.items():
                if name == "html":
                    values["subject"], values["preheader"] = done["subject"], done.get("preheader", "")
                said = list(template.root_render_func(template.new_context(values)))
                tidied = self._tidied(name)
                text = tidied("".join(said))
                if name in _ONE_LINE and _BREAKS.search(text):
                    raise RenderError("subject_line_break", f"the {name} holds a line break or control character")
                done[name] = text
                pieces[name] = Pieces(said, self.fixed, tidied)
        except UndefinedError as error:
            raise RenderError("missing_value", _without_values(error)) from None
        except TooBig as error:
            raise RenderError("too_big", f"{error} of this template is larger than it may be") from None
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, TemplateError) as error:
            raise RenderError("wrong_type", _without_values(error)) from None
        channel = self.ref.partition("/")[0]
        if channel != "email":
            pieces = {}
        if channel == "whatsapp":
            variables = {name.removeprefix(VARIABLE): done[name] for name in done if name.startswith(VARIABLE)}
            text = done.get("text", "")
            done = {"text": text, "template_id": self.content, "variables": variables}
        return Rendered(channel=channel, locale=self.locale, pieces=pieces, origins=self.origins, **done)

    def _tidied(self, part: str) -> Callable[[str], str]:
        """What is done to a part when it is put together."""
        if part in _ONE_LINE:
            return str.strip
        if part in ("text", "body"):
            return _lines if self.ref.startswith("email/") else _paragraphs
        return str


def _paragraphs(text: str) -> str:
    return _BLANKS.sub("\n\n", text).strip("\n")


def _lines(text: str) -> str:
    return f"{_paragraphs(text)}\n"


def _without_values(error: Exception) -> str:
    """An error's words, if they are ours; another's may quote a customer's data."""
    if isinstance(error, UndefinedError):
        match = re.search(
            r"'([A-Za-z_][\w .\[\]-]*)'(?: is undefined)?$|attribute '([A-Za-z_]\w*)'", error.message or ""
        )
        return f"{(match[1] or match[2]) if match else 'a value'} is missing"
    return str(error) if isinstance(error, TypeError) else type(error).__name__


def read_template(sources: Sources, ref: str, locale: str) -> Read:
    """Read and compile one file of a template. BrokenTemplate tells everything wrong with it.

    What reads MJML and CSS is native code and may end the process on a hostile file: only the cell calls this."""
    channel = ref.partition("/")[0]
    file = sources.path(ref, locale)
    if channel == "push":
        return _push(sources, ref, locale, file)
    if channel == "whatsapp":
        return _whatsapp(sources, ref, locale, file)
    front, body = front_matter(sources.read(file), FRONT[channel])
    suffix = SUFFIXES[channel]
    text = _Parts()
    if suffix == ".txt":
        lines = sources.expand(body, locale, suffix, front.get("layout"))
        text.add("text", lines, TEXT)
    else:
        if "subject" not in front or not front["subject"].text:
            raise BrokenTemplate(TemplateProblem(file, 1, "a mail needs a subject", "subject: … in the front matter"))
        text.add("subject", Lines((front["subject"],)), TEXT)
        if "preheader" in front:
            text.add("preheader", Lines((front["preheader"],)), TEXT)
        lines = sources.expand(body, locale, suffix, front.get("layout"))
        own = sources.path(ref, locale, ".txt")
        text.mail(lines, sources.expand(sources.read(own), locale, ".txt", None) if sources.has(own) else None)
    return text.done(ref, locale)


def _push(sources: Sources, ref: str, locale: str, file: str) -> Read:
    from engine.rendering.push import read_push

    parts = _Parts()
    for name, line in read_push(sources.read(file)).items():
        parts.add(name, line, TEXT)
    return parts.done(ref, locale)


def _whatsapp(sources: Sources, ref: str, locale: str, file: str) -> Read:
    content, texts = read_whatsapp(sources.read(file))
    parts = _Parts()
    for name, lines in texts.items():
        parts.add(name, lines, TEXT)
    return replace(parts.done(ref, locale), content=content)


class _Parts:
    """Collects the parts of a template and every problem in them, and gives up only at the end."""

    def __init__(self) -> None:
        self._codes: dict[str, bytes] = {}
        self._takes: list[tuple[Lines, Findings]] = []
        self._problems: list[TemplateProblem] = []

    def add(self, name: str, lines: Lines, sandbox: Sandbox) -> None:
        if self._analyse(lines):
            self._compile(name, lines, lines.text, sandbox)

    def mail(self, lines: Lines, own_text: Lines | None) -> None:
        sound = self._analyse(lines)
        try:
            skeleton = lay_out(lines)
        except BrokenTemplate as broken:
            self._problems += broken.problems
            return
        if not sound:
            return
        self._compile("html", lines, skeleton.html, HTML)
        if own_text is not None:
            self.add("text", own_text, TEXT)
        else:
            self._compile("text", lines, skeleton.text, TEXT)

    def _compile(self, name: str, lines: Lines, source: str, sandbox: Sandbox) -> None:
        try:
            self._codes[name] = _compile(sandbox, source)
        except (RecursionError, MemoryError, SyntaxError):
            self._problems.append(lines.problem(1, _DEEP))

    def _analyse(self, lines: Lines) -> bool:
        try:
            mask(lines)
            tree = TEXT.parse(lines.text)
            findings = analyse(tree)
            findings.vital = vital(tree)
        except BrokenTemplate as broken:
            self._problems += broken.problems
            return False
        except TemplateSyntaxError as error:
            self._problems.append(lines.problem(error.lineno, *in_words(error)))
            return False
        except RecursionError:
            self._problems.append(lines.problem(1, _DEEP))
            return False
        for name, number in findings.names:
            root, _, part = name.partition(".")
            if root in OWN and part not in (OWN[root] or {""}):
                hint = f"known: {', '.join(sorted(OWN[root]))}" if OWN[root] else ""
                findings.problems.append((number, f'unknown name "{name}"', hint))
        self._problems += [lines.problem(*problem) for problem in findings.problems]
        self._takes.append((lines, findings))
        return not findings.problems

    def done(self, ref: str, locale: str) -> Read:
        if self._problems:
            raise BrokenTemplate(*dict.fromkeys(self._problems))
        shown = frozenset(name for _, findings in self._takes for name in findings.always)
        return Read(ref, locale, self._codes, tuple(self._takes), shown)


def _compile(sandbox: Sandbox, source: str) -> bytes:
    tree: nodes.Template = prepared(sandbox.parse(tidied(source) if sandbox is TEXT else source))
    return marshal.dumps(sandbox.compile(tree))
