"""Template files that take minutes, gigabytes or the whole process to read. They cost their author a word, and nobody
else anything."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.rendering import cell
from engine.rendering.cell import Ask, Cell
from engine.rendering.template import Read
from engine.rendering.values import Links
from tests.rendering.conftest import LAYOUT, TEXT, Shop

DEEP = 20_000
STYLE = LAYOUT.replace("</mj-head>", "<mj-style>CSS</mj-style></mj-head>")
FILES = {
    "comments never closed": TEXT("<!--" * 60_000),
    "tags nested deep": TEXT("<div>" * DEEP + "</div>" * DEEP),
    "tables nested deep": TEXT("<table><tr><td>" * 4_000 + "</td></tr></table>" * 4_000),
    "lists nested deep": TEXT("<ul><li>" * 8_000 + "</li></ul>" * 8_000),
    "quotes nested deep": TEXT("<blockquote>" * 8_000 + "</blockquote>" * 8_000),
    "bold nested deep": TEXT("<b>" * DEEP + "</b>" * DEEP),
    "sections nested deep": "<mj-wrapper>" * 5_000 + "</mj-wrapper>" * 5_000,
    "half tags": TEXT("<" * 200_000),
    "tags never closed": TEXT("<a " * 60_000),
    "quotes never closed": TEXT('<b a="' * 20_000),
    "attributes": TEXT("<b " + " ".join(f"a{n}='x'" for n in range(20_000)) + ">x</b>"),
    "entities": TEXT("&amp" * 60_000),
    "stars": TEXT("*_" * 100_000),
    "brackets": TEXT("[" * 100_000 + "]" * 100_000),
    "backticks": TEXT("`" * 200_000),
    "a word": TEXT("a" * 240_000),
    "many sections": TEXT("x") * 2_500,
    "many columns": "<mj-section>" + "<mj-column><mj-text>x</mj-text></mj-column>" * 4_000 + "</mj-section>",
    "many values": TEXT("{{ a.b }}" * 1_900),
    "doctypes": TEXT("<!DOCTYPE" * 20_000),
    "cdata": TEXT("<![CDATA[" * 20_000),
    "loops nested deep": "{% for x in a.b %}" * 25 + TEXT("x") + "{% endfor %}" * 25,
    "conditions nested deep": "{% if a.b %}" * 400 + TEXT("x") + "{% endif %}" * 400,
}
TOLD = (
    "takes",
    "too deep",
    "larger than",
    "never closed",
    "closes nothing",
    "not allowed",
    "can't",
    "unknown",
    "expected",
)


@pytest.fixture(scope="module")
def short() -> Iterator[Cell]:
    """A cell with a short patience, so that the tests have some."""
    made = Cell(cpu_seconds=2)
    yield made
    made.end()


def asked(shop: Shop, cell_: Cell, body: str, **more: str) -> cell.Answer:
    shop.mail(body, **more)
    return cell_.ask(Ask(str(shop.root), "en", "email/x", ""))


def told(answer: cell.Answer) -> str:
    return answer if isinstance(answer, str) else "sound" if isinstance(answer, Read) else str(answer[0])


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_read_or_told_and_never_the_end(name: str, shop: Shop, short: Cell) -> None:
    said = told(asked(shop, short, FILES[name]))
    assert said == "sound" or any(word in said for word in TOLD), said
    assert told(asked(shop, short, TEXT("hello"))) == "sound"


@pytest.mark.parametrize(
    "css",
    [
        "".join(f".a{n} .b b b b{{color:red}}" for n in range(9_000)),
        "b" + " > b" * 60_000 + "{color:red}",
        "{" * 200_000,
        "@media x{" * 20_000,
        "b:not(" * 20_000 + ")" * 20_000 + "{}",
        "/*" * 100_000,
        "@import url(https://evil.example/x.css);",
        "@import url(file:///etc/passwd);",
    ],
    ids=lambda css: css[:20],
)
def test_a_hostile_style_is_read_or_told_and_never_the_end(css: str, shop: Shop, short: Cell) -> None:
    layout = {"layouts/main.mjml": STYLE.replace("CSS", css)}
    answer = asked(shop, short, TEXT("<b>" * 20 + "</b>" * 20), **layout)
    assert "root:" not in repr(answer)
    assert told(asked(shop, short, TEXT("hello"), **{"layouts/main.mjml": LAYOUT})) == "sound"


def test_the_engine_tells_what_it_could_not_read_and_goes_on(shop: Shop) -> None:
    """The file that ended the process in which the engine ran."""
    renderer = shop.mail(FILES["tags nested deep"], **{"sms/y.txt": "hello"})
    assert str(renderer.problems("email/x")[0]).startswith(
        "templates/email/x.mjml:1 the tags of this template are nested"
    )
    assert renderer.render("sms/y", "en", {}, Links()).text == "hello"


def test_memory_has_a_limit(shop: Shop) -> None:
    tight = Cell(memory=64 * 2**20)
    assert told(asked(shop, tight, FILES["many sections"])) == "reading this takes more memory than it may"
    tight.end()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_cell_that_somebody_ended_is_started_again(end: signal.Signals, shop: Shop) -> None:
    cell_ = Cell()
    assert told(asked(shop, cell_, TEXT("x"))) == "sound"
    assert cell_._process is not None
    cell_._process.send_signal(end)
    cell_._process.wait()
    assert told(asked(shop, cell_, TEXT("x"))) == "sound"
    cell_.end()


def test_ctrl_c_ends_the_engine_and_not_its_cell(shop: Shop) -> None:
    """A terminal tells all of the foreground's processes; the engine finishes what it has claimed, and needs it."""
    cell_ = Cell()
    asked(shop, cell_, TEXT("x"))
    assert cell_._process is not None
    assert os.getpgid(cell_._process.pid) != os.getpgid(0)
    cell_.end()


def test_a_cell_knows_no_secret_of_the_engine(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARIBU_SECRET", "sixteen letters or more")
    cell_ = Cell()
    asked(shop, cell_, TEXT("x"))
    assert cell_._process is not None
    assert b"sixteen" not in Path(f"/proc/{cell_._process.pid}/environ").read_bytes()
    cell_.end()


def test_many_threads_may_ask_one_cell(shop: Shop) -> None:
    shop.mail(TEXT("x"))
    cell_, answers = Cell(), []
    ask: Callable[[], None] = lambda: answers.append(cell_.ask(Ask(str(shop.root), "en", "email/x", "")))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    cell_.end()
    assert [told(one) for one in answers] == ["sound"] * 8


def test_a_forked_process_has_a_cell_of_its_own_and_leaves_its_parents_alone(shop: Shop) -> None:
    renderer = shop.mail(TEXT("x"), **{f"sms/{name}.txt": "hello" for name in "abc"})
    assert renderer.problems("email/x") == ()
    cells = cell._CELL._process
    child = os.fork()
    if child == 0:  # pragma: no cover
        sound = renderer.problems("sms/a") == () and cell._CELL._process is not cells
        cell._CELL.end()
        os._exit(0 if sound else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert renderer.problems("sms/b") == () and cell._CELL._process is cells


def test_how_many_there_were(capsys: pytest.CaptureFixture[str]) -> None:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with capsys.disabled():
        print(f"\n{len(FILES) + 8} hostile files read apart: the largest process had {used.ru_maxrss / 1024:.0f} MiB")
    assert used.ru_maxrss / 1024 < 1024
