"""Strict YAML with positions: what was typed, where it was typed.

Every scalar is the text that was typed; the type of its field decides later what it means. Refused: a duplicate key,
an anchor, an alias, a tag, a second document, a key that is no plain text, more than 256 KiB, more than 32 levels,
U+0000. The file is read from the event stream of ruamel.yaml, so that limits hold before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from engine.language.errors import Path, Problem, dotted
from engine.language.yaml_mending import guesses
from engine.language.yaml_words import in_our_words

LARGEST = 256 * 1024
DEEPEST = 32
MOST_ODD = 20
"""So many forbidden characters are told at once."""
ROUNDS = 10
LONGEST_GUESS = 32 * 1024
"""Each guess reads the file once more: a longer file is told to its first place that is no YAML."""
_REMOVE = "remove it"
_NO_BREAK = re.compile(r"(?:^[ \u00a0-]*|(?<=:)|(?<=-))\u00a0", re.M)
"""A no-break space where YAML wants a plain one: before a line, after a colon or a dash."""

Data = str | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A position in a file: line and column from 1."""

    line: int
    col: int


@dataclass(frozen=True)
class Scalar:
    """A text, where it begins, and the piece of source it was read from."""

    text: str
    place: Place
    source: str = ""

    def at(self, offset: int) -> Place:
        """The position of the character at `offset` of the text: quotes, escapes and folded lines are followed as
        far as they can be.
        """
        line, col, seen = self.place.line, self.place.col, 0
        wanted = self.text[: offset + 1].rstrip() if offset < len(self.text) else self.text
        for character in self.source:
            while seen < len(wanted) and wanted[seen].isspace():
                seen += 1
            if seen < len(wanted) and character == wanted[seen]:
                seen += 1
                if seen == len(wanted):
                    return Place(line, col if offset < len(self.text) else col + 1)
            line, col = (line + 1, 1) if character == "\n" else (line, col + 1)
        return self.place


@dataclass
class Sequence:
    """A list and where it begins."""

    place: Place
    items: list[Node] = field(default_factory=list)


@dataclass
class Mapping:
    """A mapping, where it begins, and where each key stands. Of a duplicate key the first is kept."""

    place: Place
    items: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Document:
    """One file as read: its name for messages, its text, its tree (None if it could not be read) and what was wrong.

    `guessed`: lines that are no YAML, in whose place something was read that may have been meant.
    """

    file: str
    text: str
    root: Node | None
    problems: tuple[Problem, ...] = ()
    guessed: frozenset[int] = frozenset()

    @property
    def data(self) -> Data:
        """The tree as plain texts, lists and dicts."""
        return plain(self.root) if self.root is not None else ""

    def node(self, path: Path) -> Node | None:
        """What stands at a path, None if it isn't there."""
        here = self.root
        for part in path:
            here = child(here, part)
        return here

    def place(self, path: Path, on_key: bool = False, offset: int | None = None) -> tuple[Place, Path]:
        """Where a path stands, and the part of it that exists in the file: steps that models add in between are
        passed over.
        """
        here, where, found = self.root, Place(1, 1), list[str | int]()
        if here is not None:
            where = here.place
        for n, part in enumerate(path):
            inner = child(here, part)
            if inner is None:
                continue
            at_key = on_key and n == len(path) - 1
            where = inner.place
            if isinstance(here, Mapping) and isinstance(part, str) and (at_key or not _visible(inner)):
                where = here.keys[part]
            here = inner
            found.append(part)
        if offset is not None and isinstance(here, Scalar) and here.text:
            where = here.at(offset)
        return where, tuple(found)

    def problem(
        self, path: Path, message: str, hint: str | None = None, *, on_key: bool = False, offset: int | None = None
    ) -> Problem:
        """A problem at a path of this file. A missing key is told all the same, parts of a text are not."""
        where, found = self.place(path, on_key, offset)
        shown = found if isinstance(self.node(found), Scalar) else path
        return told(self.file, self.text, where, dotted(shown), message, hint)


def renamed(node: Mapping, key: str, to: str) -> None:
    """Call a key of a mapping something else, where it stands."""
    node.items = {to if name == key else name: inner for name, inner in node.items.items()}
    node.keys = {to if name == key else name: place for name, place in node.keys.items()}


def child(node: Node | None, part: str | int) -> Node | None:
    """What stands in a node under a key or at an index."""
    if isinstance(node, Mapping) and isinstance(part, str):
        return node.items.get(part)
    if isinstance(node, Sequence) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None


def told(file: str, text: str, where: Place, path: str, message: str, hint: str | None = None) -> Problem:
    """A problem with the source line it points at."""
    lines = _lines(text)
    line = lines[where.line - 1] if 0 < where.line <= len(lines) else None
    return Problem(file, where.line, where.col, path, message, hint, line)


def plain(node: Node) -> Data:
    """A node as plain texts, lists and dicts."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(item) for key, item in node.items.items()}


def read(source: bytes | str, file: str) -> Document:
    """Read one file. Whatever the bytes, this returns a document; what is wrong stands in its problems."""
    if (
        len(source) > LARGEST
        or len(text_bytes := source.encode("utf-8", "replace") if isinstance(source, str) else source) > LARGEST
    ):
        return Document(file, "", None, (Problem(file, 0, 0, "", "the file is larger than 256 KiB", "split it up"),))
    text, problems = _decoded(file, text_bytes)
    if text is None:
        return Document(file, "", None, tuple(problems))
    text, more = _plainly(file, text.replace("\r\n", "\n").replace("\r", "\n"))
    problems += more
    reader = _Reader(file, text)
    root = reader.read()
    if reader.stop is None:
        odd = any(problem.hint == _REMOVE for problem in problems)
        here = {(problem.line, problem.col) for problem in problems}
        more = [problem for problem in reader.problems if (problem.line, problem.col) not in here]
        return Document(file, text, None if odd else root, (*problems, *more))
    return _read_on(file, text, reader, problems)


def _decoded(file: str, source: bytes) -> tuple[str | None, list[Problem]]:
    """The text of a file. What is no UTF-8 is told, and read as what it probably is, so that the rest is told too."""
    try:
        return source.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        wide = source.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = source.decode("utf-16" if wide else "cp1252", "replace")
        where = Place(1, 1) if wide else _end(source[: error.start].decode("utf-8", "replace"))
        shown = text if "\0" not in text else ""
        problem = told(file, shown, where, "", "the file is not UTF-8 text", "save it as UTF-8")
        return shown or None, [problem]


def _plainly(file: str, text: str) -> tuple[str, list[Problem]]:
    """The text without characters that nobody sees and YAML takes amiss, each told: tabs before a line, no-break spaces
    where a plain one is meant, control characters and what has no width.
    """
    problems: list[Problem] = []
    tabbed = [n for n, line in enumerate(text.split("\n"), start=1) if re.match(r"[ ]*\t\s*\S", line)]
    if tabbed:
        line = text.split("\n")[tabbed[0] - 1]
        where = Place(tabbed[0], line.index("\t") + 1)
        more = f", also in {len(tabbed) - 1} more lines" if len(tabbed) > 1 else ""
        problems.append(told(file, text, where, "", "a tab is not allowed here", "use spaces" + more))
        text = re.sub(r"^[ \t]+(?=\S)", lambda found: found[0].replace("\t", "  "), text, flags=re.M)
    for found in _NO_BREAK.finditer(text):
        where = _end(text[: found.end() - 1])
        problems.append(told(file, text, where, "", "a no-break space stands here", "write a plain space"))
    text = _NO_BREAK.sub(lambda found: found[0].replace("\u00a0", " "), text)
    odd = [n for n, character in enumerate(text) if not _allowed(character)][:MOST_ODD]
    for n in odd:
        message = f"the character U+{ord(text[n]):04X} is not allowed in a file"
        problems.append(told(file, text, _end(text[:n]), "", message, _REMOVE))
    return text, problems


def _read_on(file: str, text: str, reader: _Reader, problems: list[Problem]) -> Document:
    """Tell where the file is no YAML, and go on behind it as if what was meant stood there."""
    guessed: set[int] = set()
    sure = True
    source = text
    for _ in range(ROUNDS):
        assert reader.stop is not None
        problems.append(reader.stop.problem)
        further = None
        for guess in guesses(source, reader.stop.began, reader.stop.line) if len(text) <= LONGEST_GUESS else ():
            trial = _Reader(file, guess.text, text)
            root = trial.read()
            if trial.stop is None or trial.stop.line > max(reader.stop.line, reader.stop.began):
                further = guess
                break
        if further is None:
            break
        source, reader, sure = further.text, trial, sure and further.sure
        guessed.add(further.line)
        if trial.stop is None:
            whole = sure and root is not None
            here = [problem for problem in trial.problems if problem.line not in guessed] if whole else []
            return Document(file, text, root if whole else None, (*problems, *here), frozenset(guessed))
    return Document(file, text, None, (*problems, *reader.problems), frozenset(guessed))


class _Reader:
    """Builds the tree from the events of one text, iteratively: depth is counted, never recursed into."""

    def __init__(self, file: str, text: str, shown: str | None = None) -> None:
        self.file = file
        self.text = text
        self.shown = text if shown is None else shown
        self.problems: list[Problem] = []
        self.stop: _Stopped | None = None

    def tell(self, where: Place, path: str, message: str, hint: str | None = None) -> None:
        self.problems.append(told(self.file, self.shown, where, path, message, hint))

    def stopped(self, where: Place, message: str, hint: str | None, began: int | None = None) -> None:
        self.stop = _Stopped(told(self.file, self.shown, where, "", message, hint), where.line, began or where.line)

    def read(self) -> Node | None:
        try:
            return self._build()
        except _Stop:
            return None
        except MarkedYAMLError as error:
            mark, message, hint = in_our_words(error)
            began = error.context_mark or mark
            if mark and re.match(r"\s*-\w", self.text.split("\n")[min(mark.line, self.text.count("\n"))]):
                message, hint = "a dash wants a space behind it", "write a space after the -"
            self.stopped(_place(mark) if mark else Place(1, 1), message, hint, began.line + 1 if began else None)
        except ReaderError as error:
            self.stopped(_end(self.text[: error.position]), "this character is not allowed in a file", "remove it")
        except (
            Exception
        ):  # ruamel fails in its own ways on odd escapes and directives; the content is at fault all the same
            self.stopped(Place(1, 1), "this file can't be read as YAML", None)
        return None

    def _build(self) -> Node | None:
        root: Node | None = None
        open_: list[_Open] = []
        documents = 0
        for event in YAML(typ="safe", pure=True).parse(self.text):
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    self.tell(
                        _place(event.start_mark),
                        "",
                        "a file holds one document",
                        "remove the line --- and what follows",
                    )
                    return root
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                open_.pop()
            elif kind in ("ScalarEvent", "MappingStartEvent", "SequenceStartEvent", "AliasEvent"):
                parent = open_[-1] if open_ else None
                path = parent.next_path() if parent else ()
                node = self._node(event, kind, path)
                if parent is None:
                    root = node
                else:
                    self._put(parent, node, path)
                if not isinstance(node, Scalar):
                    open_.append(_Open(node, path))
                    if len(open_) > DEEPEST:
                        self.tell(node.place, "", f"this is nested deeper than {DEEPEST} levels", "make it flatter")
                        raise _Stop
        return root

    def _node(self, event: Any, kind: str, path: Path) -> Node:
        place = _place(event.start_mark)
        if event.anchor is not None:
            sign = "*" if kind == "AliasEvent" else "&"
            self.tell(
                place,
                dotted(path),
                f"{sign}{event.anchor}: anchors and aliases are not used here",
                "write the value out, or quote it",
            )
        if kind == "AliasEvent":
            return Scalar("", place)
        if event.tag is not None:
            self.tell(place, dotted(path), f"{event.tag}: tags are not used here", "remove it, or quote the text")
        if kind == "MappingStartEvent":
            return Mapping(place)
        if kind == "SequenceStartEvent":
            return Sequence(place)
        source = self.text[event.start_mark.index : event.end_mark.index]
        scalar = Scalar(event.value, place, source)
        for n, character in enumerate(scalar.text):
            if not _allowed(character):
                self.tell(
                    scalar.at(n),
                    dotted(path),
                    f"the character U+{ord(character):04X} is not allowed in a text",
                    "remove it",
                )
                return Scalar("", place)
        return scalar

    def _put(self, parent: _Open, node: Node, path: Path) -> None:
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif isinstance(parent.node, Mapping) and not parent.has_key:
            parent.has_key = True
            if isinstance(node, Scalar):
                parent.key, parent.key_place = node.text, node.place
            else:
                parent.key = None
                braces = self.text[_index(self.text, node.place) :].startswith("{")
                hint = (
                    'put quotes around it: "{{ … }}"; a condition takes no braces'
                    if braces
                    else "a key is a single word"
                )
                self.tell(node.place, dotted(path), "a key can't be a list or a mapping", hint)
        elif isinstance(parent.node, Mapping):
            parent.has_key = False
            key = parent.key
            if key is None:
                return
            if key in parent.node.items:
                first = parent.node.keys[key].line
                message = f'"{key}" is written twice'
                self.tell(parent.key_place, dotted((*path[:-1], key)), message, f"it is also in line {first}; keep one")
                return
            parent.node.items[key] = node
            parent.node.keys[key] = parent.key_place


@dataclass(frozen=True)
class _Stopped:
    """Where and why the file is no YAML, and in which line that began which could not be read."""

    problem: Problem
    line: int
    began: int


@dataclass
class _Open:
    """A collection whose end has not come: for a mapping, the key whose value is awaited (None: a key that was
    refused).
    """

    node: Node
    path: Path
    key: str | None = None
    key_place: Place = Place(1, 1)
    has_key: bool = False

    def next_path(self) -> Path:
        """The path of the node that comes next: a value's, or of a key that of its mapping."""
        if isinstance(self.node, Sequence):
            return (*self.path, len(self.node.items))
        return (*self.path, self.key) if self.has_key and self.key is not None else self.path


class _Stop(Exception):
    """Reading can't go on; the problem has been told."""


def _visible(node: Node) -> bool:
    """Whether a value stands somewhere: an empty one is shown at its key."""
    return not isinstance(node, Scalar) or bool(node.source)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _end(before: str) -> Place:
    line = before.count("\n") + 1
    return Place(line, len(before) - (before.rfind("\n") + 1) + 1)


def _index(text: str, place: Place) -> int:
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: place.line - 1]) + place.col - 1


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _allowed(character: str) -> bool:
    """Not the control characters and lone surrogates, which databases, terminals and mails take amiss, and nothing that
    is invisible and means nothing: a name with it looks like another one.
    """
    return character in "\t\n" or not (
        ord(character) < 32
        or 127 <= ord(character) < 160
        or 0xD800 <= ord(character) < 0xE000
        or character in "\u00ad\u200b\u2060\ufeff"
    )


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node with its path, in document order."""
    yield path, node
    if isinstance(node, Sequence):
        for n, item in enumerate(node.items):
            yield from walk(item, (*path, n))
    elif isinstance(node, Mapping):
        for key, item in node.items.items():
            yield from walk(item, (*path, key))
