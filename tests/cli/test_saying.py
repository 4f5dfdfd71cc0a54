"""What the command line says can't command the terminal, whoever wrote it."""

from __future__ import annotations

import json

import pytest

from engine.cli.shell import columns, say, say_json, warn

HOSTILE = "".join(map(chr, range(32))) + "\x1b]0;owned\x07\x1b[2J" + "".join(map(chr, range(127, 160))) + "Amina é 💚"


def test_what_is_said_holds_no_command_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    warn(HOSTILE)
    say(columns([("who", "why"), (HOSTILE.replace("\n", ""), "x")]))
    told = capsys.readouterr()
    for text in (told.out, told.err):
        assert not [one for one in text if one not in "\n\t" and not one.isprintable()]
        assert "Amina é 💚" in text


def test_json_says_the_same_text_without_a_command_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"name": HOSTILE})
    told = capsys.readouterr().out
    assert json.loads(told) == {"name": HOSTILE}
    assert not [one for one in told if one != "\n" and not one.isprintable()]
