"""What ruamel.yaml finds wrong with a file, told to someone who writes journeys."""

from __future__ import annotations

from typing import Any

from ruamel.yaml.error import MarkedYAMLError


def in_our_words(error: MarkedYAMLError) -> tuple[Any, str, str | None]:
    """Where (a mark of ruamel.yaml), what, and what to do."""
    problem = f"{error.problem or ''} {error.context or ''}"
    here, began = error.problem_mark or error.context_mark, error.context_mark or error.problem_mark
    if "cannot start any token" in problem and "\\t" in problem:
        return here, "a tab is not allowed here", "use spaces"
    if "anchor" in problem or "alias" in problem:
        return began, "& and * begin anchors and aliases, which are not used here", "put the text in quotes"
    if "cannot start any token" in problem or "found unexpected ':'" in problem:
        return here, "a text can't begin with this character", "put the text in quotes"
    if "mapping values are not allowed" in problem:
        what = "a second colon in one line, or a line that is indented too far"
        return here, what, "put the text in quotes, or mend the indentation"
    if "could not find expected ':'" in problem:
        return (
            began,
            "this is neither a key with its colon nor part of the text above",
            "write key: value, or indent it",
        )
    if "quoted scalar" in problem and "escape" not in problem:
        return began, "a quote is opened here and not closed", "close it"
    if "flow sequence" in problem or "flow mapping" in problem:
        what = "bracket [" if "flow sequence" in problem else "brace {"
        return (
            began,
            f"a {what} is opened here and not closed, or a comma is missing in it",
            "close it, or quote the text",
        )
    if "expected <block end>" in problem or "expected '-' indicator" in problem:
        if "<scalar>" in problem:
            return (
                here,
                "a text goes on after its closing quote",
                "put all of it in quotes, or write it in a line of its own",
            )
        return (
            here,
            "this line doesn't fit to the lines above it",
            "let lines that belong together begin in the same column",
        )
    if "escape" in problem:
        return here, "\\ begins an escape in a text with double quotes", "use single quotes"
    if "tag" in problem or "directive" in problem:
        return here, "tags and directives are not used here", "put the text in quotes"
    return here, "this can't be read as YAML", "mend the indentation, the quotes and the colons of this line"
