"""Turns MJML into the two Jinja templates of a mail, HTML and text, once: MJML lays out the skeleton, Jinja fills in
the person.

Laying out and inlining takes a thousand times as long as filling in, so it must not be done for each customer. The
Jinja tags pass through as words (values) and as comments (`if`, `for`), and come back as they were written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import css_inline
import mjml
from html_to_markdown import ConversionOptions, convert

from engine.rendering.mjml_reader import Element, Reading, read
from engine.rendering.sources import Lines
from engine.rendering.tags import Masked, mask, unmask, word, words
from engine.rendering.values import BrokenTemplate

_COMMENT = re.compile(r"<!--(?!\[).*?-->", re.DOTALL)
_CELLS = re.compile(r"</t[dh]>\s*<t[dh][^>]*>")
_ROWS = re.compile(r"</?(?:table|tbody|thead|tfoot|td|th)\b[^>]*>")
_ROW = re.compile(r"<(/?)tr\b[^>]*>")
_IMAGES = re.compile(r"<img\b[^>]*>")
_BOLD = re.compile(r"</?(?:b|strong|i|em|u|span|small|font|center)\b[^>]*>")
_INLINER = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
_OPTIONS = ConversionOptions(autolinks=False, extract_metadata=False, skip_images=True)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Jinja sources of a mail's HTML and text."""

    html: str
    text: str


def lay_out(lines: Lines) -> Skeleton:
    """The skeleton of an expanded MJML template. BrokenTemplate tells everything that is wrong with it."""
    masked = mask(Lines(tuple(lines.lines)))
    masked = Masked(_COMMENT.sub(_blank, masked.text), masked.tags)
    hidden = set(range(len(masked.tags))) - set(words(masked.text))
    if hidden:
        line = masked.tags[min(hidden)].line
        raise BrokenTemplate(lines.problem(line, "a tag can't stand in an HTML comment", "comment with {# … #}"))
    reading = read(masked)
    if reading.problems or reading.root is None:
        raise BrokenTemplate(*(lines.problem(*problem) for problem in reading.problems))
    return Skeleton(_html(lines, masked, reading), _text(masked, reading.root))


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def _html(lines: Lines, masked: Masked, reading: Reading) -> str:
    text = masked.text
    assert reading.root is not None
    for element in sorted(reading.root.walk(), key=lambda e: -e.start):
        inner = text[element.inner : element.end]
        if element.tag == "mj-table" and not re.match(r"\s*(zqk\d+qz\s*)*<(tbody|thead)", inner):
            # Without it the parser opens a <tbody> inside the loop, once for every row.
            text = f"{text[: element.inner]}<tbody>{inner}</tbody>{text[element.end :]}"
    for number, tag in enumerate(masked.tags):
        if tag.control and reading.places[number] in ("text", "between"):
            comment = f"<!--{word(number)}-->"
            text = text.replace(
                word(number), comment if reading.places[number] == "text" else f"<mj-raw>{comment}</mj-raw>"
            )
    try:
        html = _INLINER.inline(mjml.mjml2html(text))
    except (ValueError, css_inline.InlineError) as error:
        raise BrokenTemplate(lines.problem(1, f"MJML can't lay this out: {error}")) from None
    _unharmed(lines, masked, reading, words(html))
    sources = []
    for number, tag in enumerate(masked.tags):
        sources.append(_as_link(tag.source) if reading.places[number] == "link" else tag.source)
    html = re.sub(r"<!--(zqk\d+qz)-->", r"\1", html)
    return unmask(html, sources)


def _unharmed(lines: Lines, masked: Masked, reading: Reading, found: list[int]) -> None:
    """MJML may show a title twice or drop what it has no place for; an `if` must come through once and in order."""
    there = set(found)
    problems = [
        lines.problem(tag.line, "MJML drops what stands here", "move it into <mj-text>")
        for number, tag in enumerate(masked.tags)
        if number not in there
    ]
    controls = [n for n in found if masked.tags[n].control and reading.places[n] in ("text", "between")]
    if not problems and controls != sorted(set(controls)):
        problems.append(
            lines.problem(masked.tags[controls[0]].line, "MJML moves this {% … %} away", "put it into <mj-text>")
        )
    if problems:
        raise BrokenTemplate(*problems)


def _as_link(source: str) -> str:
    inner = source[2:-2].strip("-+ \n")
    return f"{{{{ ({inner}) | link }}}}"


def _text(masked: Masked, root: Element) -> str:
    """The text part, made from what the elements say and not from the tables they are laid out in."""
    sources = [tag.source for tag in masked.tags]
    body = next((child for child in root.flow if isinstance(child, Element) and child.tag == "mj-body"), None)
    pieces = "".join(_piece(part, masked, sources) for part in (body.flow if body else ()))
    text = convert(f"<div>{pieces}</div>", _OPTIONS).content or ""
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return unmask(text.strip() + "\n", sources)


def _piece(part: Element | int, masked: Masked, sources: list[str]) -> str:
    if isinstance(part, int):
        return f"<p>{word(part)}</p>"
    inner = masked.text[part.inner : part.end]
    href = part.attributes.get("href", "")
    if part.tag == "mj-text":
        return f"<div>{_BOLD.sub('', _IMAGES.sub('', inner))}</div>"
    if part.tag in ("mj-button", "mj-social-element", "mj-navbar-link"):
        label = inner.strip() or part.attributes.get("name", "")
        return f"<p>{label}: {_kept(href, sources)}</p>" if href else f"<p>{label}</p>"
    if part.tag == "mj-image":
        alt = part.attributes.get("alt", "")
        return f"<p>{alt}: {_kept(href, sources)}</p>" if alt and href else ""
    if part.tag == "mj-table":
        rows = _ROWS.sub("", _CELLS.sub(" &nbsp; ", _BOLD.sub("", _IMAGES.sub("", inner))))
        return f"<div>{_ROW.sub(lambda match: f'<{match[1]}p>', rows)}</div>"
    return "".join(_piece(child, masked, sources) for child in part.flow)


def _kept(text: str, sources: list[str]) -> str:
    """A text that the conversion must not touch (an address with underscores), as a word of its own."""
    sources.append(unmask(text, sources))
    return word(len(sources) - 1)
