"""Reads MJML into a small tree with line numbers, telling every tag that is wrong, unknown, misplaced or never
closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from html.parser import HTMLParser

from engine.rendering.mjml_tags import ATTRIBUTES, BETWEEN, ENDING, HTML, PARENTS, VOID
from engine.rendering.tags import Masked, words

_UNSAFE = ("javascript:", "vbscript:", "data:text")


@dataclass
class Element:
    """An MJML element. `start` to `inner` is its opening tag, `inner` to `end` what it holds, in the masked text.

    `flow`: the elements and the tags (by number) that stand directly in it, in order.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    start: int
    inner: int
    end: int = 0
    flow: list[Element | int] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.flow:
            if isinstance(child, Element):
                yield from child.walk()


@dataclass
class Reading:
    """A masked MJML text that was read: its tree, and where each tag (by number) stands.

    `places`: text (inside HTML), between (between MJML elements), attribute, link (the beginning of an href or src),
    title (text that can hold no markup).
    """

    root: Element | None
    places: dict[int, str]
    problems: list[tuple[int, str, str]]


def read(masked: Masked) -> Reading:
    """The tree of a masked MJML text; problems carry lines of that text."""
    reader = _Reader(masked)
    reader.feed(masked.text)
    reader.close()
    reader.finish()
    return Reading(reader.root, reader.places, sorted(reader.problems))


class _Reader(HTMLParser):
    def __init__(self, masked: Masked) -> None:
        super().__init__(convert_charrefs=False)
        self._text = masked.text
        self._tags = masked.tags
        self._offsets = [0]
        for line in masked.text.split("\n"):
            self._offsets.append(self._offsets[-1] + len(line) + 1)
        self._open: list[Element] = []
        self._html: list[tuple[str, int]] = []
        self.root: Element | None = None
        self.places: dict[int, str] = {}
        self.problems: list[tuple[int, str, str]] = []

    def _here(self) -> int:
        line, column = self.getpos()
        return self._offsets[line - 1] + column

    def _problem(self, message: str, hint: str = "", line: int | None = None) -> None:
        self.problems.append((line or self.getpos()[0], message, hint))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs, closed=False)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs, closed=True)

    def _start(self, tag: str, attrs: list[tuple[str, str | None]], *, closed: bool) -> None:
        raw = self.get_starttag_text() or ""
        parent = self._open[-1] if self._open else None
        self._attributes(tag, attrs)
        if parent is not None and parent.tag in ENDING:
            self._html_start(tag, closed)
            return
        self._known(tag, parent, [name for name, _ in attrs])
        here = self._here()
        line = self.getpos()[0]
        element = Element(
            tag, {name: value or "" for name, value in attrs}, line, here, here + len(raw), here + len(raw)
        )
        if parent is not None:
            parent.flow.append(element)
        elif self.root is None:
            self.root = element
        else:
            self._problem("there is more than one <mjml>")
        if not closed:
            self._open.append(element)

    def _known(self, tag: str, parent: Element | None, attributes: list[str]) -> None:
        """Tell a tag nobody knows, one in the wrong place, and attributes it doesn't have."""
        if tag not in PARENTS:
            near = get_close_matches(tag, PARENTS, 1)
            hint = f'did you mean "<{near[0]}>"?' if near else ""
            self._problem(f"unknown MJML tag <{tag}>", "put HTML into <mj-text>" if tag in HTML else hint)
            return
        if parent is None:
            if tag != "mjml":
                hint = "name a layout in the front matter, or write a whole <mjml>"
                self._problem(f"<{tag}> stands outside <mjml>", hint)
        elif parent.tag == "mj-attributes":
            return  # names any element to set its defaults; mj-class and mj-all take every attribute
        elif parent.tag not in PARENTS[tag]:
            allowed = ", ".join(f"<{name}>" for name in sorted(PARENTS[tag]))
            self._problem(f"<{tag}> can't stand in <{parent.tag}>", f"it stands in {allowed}" if allowed else "")
        for name in attributes:
            if name not in ATTRIBUTES[tag] and not words(name):
                near = get_close_matches(name, ATTRIBUTES[tag], 1)
                self._problem(f'<{tag}> has no attribute "{name}"', f'did you mean "{near[0]}"?' if near else "")

    def _html_start(self, tag: str, closed: bool) -> None:
        if tag.startswith("mj-"):
            self._problem(f"<{tag}> can't stand in <{self._open[-1].tag}>", "close that first")
        elif tag not in HTML:
            self._problem(f"<{tag}> is not allowed in a mail")
        elif tag not in VOID and not closed:
            self._html.append((tag, self.getpos()[0]))

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if words(name):
                self._problem("a tag can't stand among the attributes, only inside the quotes of one")
                for number in words(name):
                    self.places[number] = "attribute"
                continue
            value = value or ""
            numbers = words(value)
            if name.startswith("on") or value.strip().lower().startswith(_UNSAFE):
                self._problem(f'the attribute "{name}" can run a script: not allowed in a mail')
            if numbers and name == "style":
                self._problem("values can't stand in style=", "use an attribute of MJML, or a class")
            for number in numbers:
                self.places[number] = "attribute"
            if numbers and name in ("href", "src") and value.lstrip().startswith(f"zqk{numbers[0]}qz"):
                if self._tags[numbers[0]].control:
                    self._problem(f"{{% … %}} can't begin {name}=", "choose the whole element with if and else")
                self.places[numbers[0]] = "link"

    def handle_endtag(self, tag: str) -> None:
        parent = self._open[-1] if self._open else None
        if parent is not None and parent.tag in ENDING and tag != parent.tag:
            if self._html and self._html[-1][0] == tag:
                self._html.pop()
            elif tag not in VOID:
                self._problem(f"</{tag}> closes nothing")
            return
        if parent is None or parent.tag != tag:
            self._problem(f"</{tag}> closes nothing", f"<{parent.tag}> of line {parent.line} is open" if parent else "")
            return
        for name, line in self._html:
            self._problem(f"<{name}> is never closed", line=line)
        self._html.clear()
        parent.end = self._here()
        self._open.pop()

    def handle_data(self, data: str) -> None:
        parent = self._open[-1] if self._open else None
        numbers = words(data)
        if parent is not None and parent.tag in ENDING:
            place = "title" if parent.tag in ("mj-title", "mj-preview") else "text"
            for number in numbers:
                self.places[number] = place
                if parent.tag == "mj-style":
                    self._problem("values can't stand in <mj-style>", line=self._tags[number].line)
            return
        left = data
        for number in numbers:
            self.places[number] = "between"
            left = left.replace(f"zqk{number}qz", "")
            tag = self._tags[number]
            if parent is None or parent.tag not in BETWEEN:
                self._problem(f"{tag.source[:2]} … can't stand here", "put it inside <mj-body>", tag.line)
            elif not tag.control and not tag.source.startswith("{%"):
                self._problem("text can't stand between elements", "put it into <mj-text>", tag.line)
            parent_flow = parent.flow if parent else []
            parent_flow.append(number)
        if left.strip() and (parent is None or parent.tag in PARENTS):
            where = f"<{parent.tag}>" if parent else "<mjml>"
            self._problem(
                f"text can't stand directly in {where}" if parent else f"text outside {where}", "use <mj-text>"
            )

    def handle_comment(self, data: str) -> None:
        for number in words(data):
            self._problem(
                "a tag can't stand in an HTML comment", "comment it out with {# … #}", self._tags[number].line
            )
            self.places[number] = "attribute"

    def handle_decl(self, decl: str) -> None:
        self._problem("a mail's template has no <!…>")

    def unknown_decl(self, data: str) -> None:
        self._problem("a mail's template has no <![…]>")

    def finish(self) -> None:
        for element in self._open:
            self._problem(f"<{element.tag}> is never closed", line=element.line)
        if self.root is None:
            self._problem("there is no <mjml>", "name a layout in the front matter: layout: NAME", 1)
        for number, tag in enumerate(self._tags):
            if number not in self.places:
                self._problem("this tag stands where nothing is shown", line=tag.line)
