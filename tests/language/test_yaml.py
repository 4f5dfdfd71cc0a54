"""Reading YAML: what was typed, where it was typed, and nothing that could surprise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.language.errors import Problem
from engine.language.yaml import DEEPEST, LARGEST, Document, Place, Scalar, read


def of(text: str) -> Document:
    document = read(text, "f.yaml")
    assert not document.problems, document.problems
    return document


def test_every_plain_value_is_the_text_that_was_typed() -> None:
    text = "a: NO\nb: 012345\nc: 1.10\nyes: null\ne: 2026-12-24\nf: 0x1F\ng: 1:30\nh: ~\ni:\n"
    typed = {"a": "NO", "b": "012345", "c": "1.10", "yes": "null", "e": "2026-12-24", "f": "0x1F", "g": "1:30"}
    assert of(text).data == {**typed, "h": "~", "i": ""}


def test_a_value_stands_where_it_was_typed() -> None:
    document = of("a:\n  - x: 1\n    y: [p, q]\n")
    assert document.place(("a", 0, "y", 1)) == (Place(3, 12), ("a", 0, "y", 1))
    assert document.place(("a", 0, "y"), on_key=True)[0] == Place(3, 5)


def test_a_path_that_isnt_there_is_shown_as_far_as_it_goes() -> None:
    assert of("a:\n  b: 1\n").place(("a", "union", "b", "deeper")) == (Place(2, 6), ("a", "b"))


@pytest.mark.parametrize(
    ("text", "offset", "place"),
    [
        ("a: one two\n", 4, Place(1, 8)),
        ("a: 'it''s two'\n", 5, Place(1, 11)),
        ('a: "one two"\n', 4, Place(1, 9)),
        ("a: |\n  one\n  two\n", 4, Place(3, 3)),
        ("a: >-\n  one\n  two\n", 4, Place(3, 3)),
        ("a: one\n  two\n", 4, Place(2, 3)),
        ("a: one\n", 3, Place(1, 7)),
    ],
)
def test_an_offset_into_a_text_is_found_in_the_file(text: str, offset: int, place: Place) -> None:
    node = of(text).node(("a",))
    assert isinstance(node, Scalar)
    assert node.at(offset) == place


def test_windows_files_are_read_like_others() -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "f.yaml").data == {"a": "1", "b": "2"}


def test_a_file_may_be_256_kib_and_no_more() -> None:
    fits = b"# " + b"x" * (LARGEST - 8) + b"\na: 1\n"
    assert len(fits) == LARGEST
    assert read(fits, "f.yaml").data == {"a": "1"}
    assert [str(p) for p in read(fits + b"\n", "f.yaml").problems] == [
        "f.yaml: the file is larger than 256 KiB (split it up)"
    ]


def test_nesting_may_be_32_deep_and_no_more() -> None:
    assert not read("[" * DEEPEST + "]" * DEEPEST, "f.yaml").problems
    assert (
        read("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "f.yaml")
        .problems[0]
        .message.startswith("this is nested deeper")
    )
    assert read("[" * 200_000, "f.yaml").problems


def test_the_caret_stands_below_its_character_also_after_tabs_and_wide_characters() -> None:
    line = "\ta: \N{CJK UNIFIED IDEOGRAPH-4E2D}x"
    *_, shown, caret = str(Problem("f.yaml", 1, 6, "a", "no", None, line)).split("\n")
    assert (shown, caret) == ("    " + line, "    \t     ^")


def test_a_long_line_is_cut_around_the_caret_and_control_characters_are_not_printed() -> None:
    *_, shown, caret = str(Problem("f.yaml", 1, 1001, "a", "no", None, "x" * 1000 + "\x1b" + "y" * 1000)).split("\n")
    assert len(shown) <= 124
    assert shown[caret.index("^")] == "\N{REPLACEMENT CHARACTER}"


def sound(document: Document) -> None:
    for problem in document.problems:
        assert problem.file == "f.yaml"
        assert problem.message
        str(problem).encode()
    if document.root is None:
        return
    str(document.data).encode()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_a_problem(source: bytes) -> None:
    sound(read(source, "f.yaml"))


@given(st.text(alphabet=":-[]{}?,&*!|>'\"%@`#~ \n\tab1\\xu0\0\ud800\x85\u2028", max_size=80))
def test_any_yaml_signs_are_a_document_or_a_problem(source: str) -> None:
    sound(read(source, "f.yaml"))
