"""Reads a push template: YAML with title, body and url, each a text with Jinja in it."""

from __future__ import annotations

from ruamel.yaml import YAML, MappingNode, ScalarNode
from ruamel.yaml.error import MarkedYAMLError

from engine.rendering.sources import Line, Lines
from engine.rendering.values import BrokenTemplate, TemplateProblem

KEYS = ("title", "body", "url")


def read_push(lines: Lines) -> dict[str, Lines]:
    """The texts of a push template by key, each with its own place. BrokenTemplate for anything but title, body,
    url."""
    file = lines.at(1).file
    try:
        root = YAML(typ="safe", pure=True).compose(lines.text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = 'put quotes around a text with {{ }}: title: "Hello {{ customer.first_name }}"'
        raise BrokenTemplate(TemplateProblem(file, line, f"not YAML: {error.problem}", hint)) from None
    if not isinstance(root, MappingNode):
        raise BrokenTemplate(TemplateProblem(file, 1, "a push template is a mapping", "title: …, body: …, url: …"))
    found: dict[str, Lines] = {}
    problems: list[TemplateProblem] = []
    for key, value in root.value:
        line = key.start_mark.line + 1
        if key.value not in KEYS:
            problems.append(TemplateProblem(file, line, f'unknown key "{key.value}"', f"known: {', '.join(KEYS)}"))
        elif key.value in found:
            problems.append(TemplateProblem(file, line, f'"{key.value}" stands twice'))
        elif not isinstance(value, ScalarNode):
            hint = 'put quotes around a text with {{ }}: title: "Hello {{ customer.first_name }}"'
            problems.append(TemplateProblem(file, line, f'"{key.value}" must be a text', hint))
        else:
            at = value.start_mark.line + (2 if value.style in ("|", ">") else 1)
            rows = value.value.split("\n")
            found[key.value] = Lines(tuple(Line(text, file, at + number) for number, text in enumerate(rows)))
    for name in ("title", "body"):
        if name not in found and not problems:
            problems.append(TemplateProblem(file, 1, f"a push message needs a {name}"))
    if problems:
        raise BrokenTemplate(*problems)
    return {name: found[name] for name in KEYS if name in found}
