"""The text of an expression through Jinja2's own lexer and parser, with the place of every node.

Jinja2 keeps line numbers only. Here every token carries its offset into the text where Jinja2 expects a line, so each
node and each error of its parser comes with an offset; and `90d` is one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser

from engine.language.errors import CURLY, Wrong
from engine.language.moments import UNIT_WORDS, parse_duration

LONGEST_TEXT = 4000
DEEPEST = 40

_DURATION_HINT = "a duration is a whole number and m, h, d or w, like 30m, 12h, 90d or 2w"
_JINJA = Environment()


class ExpressionError(Wrong):
    """The expression is at fault at `offset` of its text."""

    offset: int

    def __init__(self, message: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message, hint, offset=offset)


class Micros(int):
    """A duration literal, in microseconds."""


class Source:
    """The parsed text: `root`, and the span of each of its nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST_TEXT:
            raise ExpressionError(
                f"this expression is longer than {LONGEST_TEXT} characters", 0, "move parts of it into segments"
            )
        stream = _Stream(list(_tokens(text)), len(text))
        parser = _Parser(stream)
        try:
            self.root: nodes.Expr = parser.parse_expression()
            if not parser.stream.eos:
                parser.unexpected()
        except TemplateSyntaxError as error:
            raise ExpressionError(_message(error), stream.at, _hint(text, stream.at)) from None
        except RecursionError:
            raise ExpressionError("this expression is nested too deeply", 0) from None
        self._spans = parser.spans
        self._keep = parser.keep

    def span(self, node: nodes.Node) -> tuple[int, int]:
        """Where the text of this node begins and ends, its parentheses included."""
        found = self._spans.get(id(node))
        if found is None:
            below = [self.span(child) for child in node.iter_child_nodes()]
            found = (min(s for s, _ in below), max(e for _, e in below)) if below else (node.lineno, node.lineno)
        return found


class _Stream(TokenStream):
    """Jinja2's token stream, which also remembers where the last token it gave ended."""

    def __init__(self, tokens: list[tuple[Token, int]], end: int) -> None:
        self.last_end = 0
        self._end = end
        self._ends = {token.lineno: stop for token, stop in tokens}
        super().__init__((token for token, _ in tokens), None, None)

    def __next__(self) -> Token:
        token = super().__next__()
        self.last_end = self._ends.get(token.lineno, self._end)
        return token

    @property
    def at(self) -> int:
        return self._end if self.current.type == "eof" else self.current.lineno


class _Parser(Parser):
    """Jinja2's parser over our tokens; it notes the span of every node it gives, and counts how deep it stands."""

    def __init__(self, stream: _Stream) -> None:
        super().__init__(_JINJA, "", state="variable")
        self.stream: _Stream = stream
        self.spans: dict[int, tuple[int, int]] = {}
        self.keep: list[nodes.Node] = []  # the spans go by id, so no node may be freed
        self._depth = 0

    def unexpected(self) -> NoReturn:
        self.fail(f"unexpected {_shown(self.stream.current)}")

    def _spanned(self, parse: Any, *arguments: Any) -> Any:
        start = self.stream.at
        self._depth += 1
        if self._depth > DEEPEST * 6:  # a level of nesting passes some six of these methods
            raise RecursionError
        node = parse(*arguments)
        self._depth -= 1
        self.spans[id(node)] = (start, self.stream.last_end)
        self.keep.append(node)
        return node

    def parse_or(self) -> nodes.Expr:
        return self._spanned(super().parse_or)  # type: ignore[no-any-return]

    def parse_and(self) -> nodes.Expr:
        return self._spanned(super().parse_and)  # type: ignore[no-any-return]

    def parse_not(self) -> nodes.Expr:
        return self._spanned(super().parse_not)  # type: ignore[no-any-return]

    def parse_compare(self) -> nodes.Expr:
        return self._spanned(super().parse_compare)  # type: ignore[no-any-return]

    def parse_math1(self) -> nodes.Expr:
        return self._spanned(super().parse_math1)  # type: ignore[no-any-return]

    def parse_math2(self) -> nodes.Expr:
        return self._spanned(super().parse_math2)  # type: ignore[no-any-return]

    def parse_unary(self, with_filter: bool = True) -> nodes.Expr:
        return self._spanned(super().parse_unary, with_filter)  # type: ignore[no-any-return]

    def parse_primary(self, with_namespace: bool = False) -> nodes.Expr:
        return self._spanned(super().parse_primary, with_namespace)  # type: ignore[no-any-return]

    def parse_subscript(self, node: nodes.Expr) -> nodes.Getattr | nodes.Getitem:
        return self._after(node, super().parse_subscript(node))  # type: ignore[no-any-return]

    def parse_call(self, node: nodes.Expr) -> nodes.Call:
        return self._after(node, super().parse_call(node))  # type: ignore[no-any-return]

    def parse_test(self, node: nodes.Expr) -> nodes.Expr:
        return self._after(node, super().parse_test(node))  # type: ignore[no-any-return]

    def _after(self, node: nodes.Expr, made: Any) -> Any:
        """`made` is `node` and what follows it."""
        for part in (made, made.node) if isinstance(made, nodes.Not) else (made,):
            self.spans[id(part)] = (self.spans[id(node)][0], self.stream.last_end)
            self.keep.append(part)
        return made


def _tokens(text: str) -> Iterator[tuple[Token, int]]:
    """Jinja2's tokens with the offset in place of the line, and where each ends; a duration is one token."""
    for offset, character in enumerate(text):
        if (ord(character) < 32 and character not in "\t\n") or 0xD800 <= ord(character) <= 0xDFFF:
            raise ExpressionError("a control character can't stand in an expression", offset)
    raw = [(o, kind, value) for o, kind, value in _lexed(text) if kind != "whitespace"]
    if not raw:
        raise ExpressionError("an expression is expected here", 0)
    skip = False
    for (at, kind, value), follower in zip(raw, [*raw[1:], None], strict=True):
        if skip:
            skip = False
            continue
        end = at + len(value)
        adjacent = follower is not None and follower[0] == end and follower[1] == "name"
        if kind in ("integer", "float") and adjacent and follower is not None:
            yield _token(at, "integer", _duration(text, at, value, follower[2])), end + len(follower[2])
            skip = True
            continue
        if kind == "string" and follower is not None and follower[1] == "string":
            raise ExpressionError("texts can't be put together in an expression", follower[0])
        for token in _JINJA.lexer.wrap(iter([(at, kind, value)])):
            yield _checked(token, value), end


def _lexed(text: str) -> Iterator[tuple[int, str, str]]:
    offset = 0
    try:
        # A trailing newline is dropped by the lexer, the offsets before it hold.
        for _, kind, value in _JINJA.lexer.tokeniter(text, None, None, "variable"):
            if kind in ("variable_end", "data") or kind.endswith(("_begin", "_end")) or value == "{":
                hint = "a bare expression is expected here, without {{ }}"
                raise ExpressionError(f'unexpected "{value.strip()}"', offset, hint)
            yield offset, kind, value
            offset += len(value)
    except TemplateSyntaxError as error:
        found = re.fullmatch(r"unexpected char (.*) at (\d+)", error.message or "", re.S)
        if found and text[int(found[2])] in "\"'":
            raise ExpressionError("this text has no closing quote", int(found[2])) from None
        if found:
            at = int(found[2])
            raise ExpressionError(f'unexpected "{text[at]}"', at, _hint(text, at)) from None
        raise ExpressionError(error.message or "this can't be read", offset) from None


def _duration(text: str, at: int, digits: str, unit: str) -> Micros:
    try:
        return Micros(parse_duration(digits + unit).total_seconds() * 1_000_000)
    except Wrong as wrong:
        raise ExpressionError(wrong.message, at, wrong.hint or _DURATION_HINT) from None


def _checked(token: Token, written: str) -> Token:
    if token.type in ("integer", "float"):
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", written):
            raise ExpressionError(f'"{written}" is not a number', token.lineno, "write it in plain digits")
        value: Any = float(written)
        if value and not 1e-100 <= value <= 1e100:
            raise ExpressionError("this number is beyond what can be counted with", token.lineno)
        return _token(token.lineno, "float", value)
    if token.type == "string" and any(c == "\0" or 0xD800 <= ord(c) <= 0xDFFF for c in token.value):
        raise ExpressionError("this text holds a character that no stored text can have", token.lineno)
    return token


def _message(error: TemplateSyntaxError) -> str:
    message = (error.message or "this can't be read").rstrip(".")
    return re.sub("'?end of (print statement|template)'?", "end", message)


def _token(at: int, kind: str, value: Any) -> Token:
    return Token(at, kind, value)  # Jinja2 types the value as str, though its own numbers are none


def _shown(token: Token) -> str:
    return "end" if token.type == "eof" else f'"{token.value}"'


def _hint(text: str, at: int) -> str | None:
    here = text[at : at + 2]
    if not here and text.count("(") > text.count(")"):
        return "close the bracket"
    word = re.match(r"\w+", text[at:])
    if here[:1] in tuple(CURLY):
        return 'write straight quotes, like "KE"'
    if here == "=>":
        return 'write ">="'
    if here.startswith("=") and here != "==":
        return 'compare with "=="'
    if text[max(0, at - 1) : at + 1] == "<>":
        return 'write "!="'
    if word and word[0] in ("AND", "OR", "NOT", "IN", "IS"):
        return f'write "{word[0].lower()}"'
    if word and re.search(r"[0-9] *$", text[:at]) and word[0].lower().rstrip("s") in UNIT_WORDS:
        return f"write it as one word, like 30{UNIT_WORDS[word[0].lower().rstrip('s')]}"
    if here[:1] == "," and re.search(r"[0-9]$", text[:at]) and re.match(r",[0-9]{3}", text[at:]):
        return "write numbers without separators, like 1000"
    if here[:1] in ("$", "€", "£"):
        return "write an amount as a plain number, in the brand's currency"
    if here == "&&":
        return 'write "and"'
    if here in ("||", "| "):
        return 'write "or"'
    if here.startswith("!"):
        return 'write "not"'
    return None
