"""Reads a WhatsApp template: the id of the content that was approved there and its variables, or a plain text.

content: HXb5b62575e6e4ff6129ad7c8efe1f983e
variables: {1: "{{ customer.first_name }}", 2: "{{ entry.order_id }}"}
text: "What it says, for previews"
"""

from __future__ import annotations

import re

from ruamel.yaml import YAML, MappingNode, ScalarNode
from ruamel.yaml.error import MarkedYAMLError

from engine.rendering.sources import Line, Lines
from engine.rendering.values import BrokenTemplate, TemplateProblem

KEYS = ("content", "variables", "text")
VARIABLE = "variable:"
"""Before the name of a variable, in the name of its part."""
_CONTENT = re.compile(r"HX[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
_QUOTES = 'put quotes around a text with {{ }}: 1: "{{ customer.first_name }}"'


def read_whatsapp(lines: Lines) -> tuple[str, dict[str, Lines]]:
    """The content's id ('' for a plain text) and the texts by part: `text`, and `variable:NAME`. BrokenTemplate tells
    all that is wrong."""
    file = lines.at(1).file
    try:
        root = YAML(typ="safe", pure=True).compose(lines.text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BrokenTemplate(TemplateProblem(file, line, f"not YAML: {error.problem}", _QUOTES)) from None
    if not isinstance(root, MappingNode):
        raise BrokenTemplate(TemplateProblem(file, 1, "a WhatsApp template is a mapping", "content: HX…, variables: …"))
    problems: list[TemplateProblem] = []
    found: dict[str, Lines] = {}
    content = ""
    seen = set()
    for key, value in root.value:
        line = key.start_mark.line + 1
        if key.value not in KEYS or key.value in seen:
            problems.append(
                TemplateProblem(file, line, f'unknown key "{key.value}"', f"known, once: {', '.join(KEYS)}")
            )
        elif key.value == "content":
            content = value.value if isinstance(value, ScalarNode) else ""
            if not _CONTENT.fullmatch(content):
                hint = "the id that Twilio's content template builder gives: HX and 32 digits"
                problems.append(TemplateProblem(file, line, "this is no id of a content", hint))
        elif key.value == "text":
            _text("text", key, value, file, found, problems)
        elif not isinstance(value, MappingNode):
            problems.append(TemplateProblem(file, line, "variables are a mapping", _QUOTES))
        else:
            for name, said in value.value:
                if not _NAME.fullmatch(name.value) or f"{VARIABLE}{name.value}" in found:
                    message = f'"{name.value}" is no name of a variable, or stands twice'
                    problems.append(TemplateProblem(file, name.start_mark.line + 1, message, "as in the approved text"))
                else:
                    _text(f"{VARIABLE}{name.value}", name, said, file, found, problems)
        seen.add(key.value)
    if not problems and not content and ("text" not in found or len(found) > 1):
        hint = "content: HX… with its variables, or a text for those who have just written to you"
        problems.append(TemplateProblem(file, 1, "a WhatsApp message needs a content", hint))
    if problems:
        raise BrokenTemplate(*problems)
    return content, found


def _text(
    part: str, key: ScalarNode, value: object, file: str, found: dict[str, Lines], problems: list[TemplateProblem]
) -> None:
    if not isinstance(value, ScalarNode):
        problems.append(TemplateProblem(file, key.start_mark.line + 1, f'"{key.value}" must be a text', _QUOTES))
        return
    at = value.start_mark.line + (2 if value.style in ("|", ">") else 1)
    rows = value.value.split("\n")
    found[part] = Lines(tuple(Line(text, file, at + number) for number, text in enumerate(rows)))
