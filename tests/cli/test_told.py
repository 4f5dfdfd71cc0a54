"""What the command line says, word for word. `python -m tests.cli.session tests/cli/told/*.txt` writes it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.session import Session

TOLD = sorted((Path(__file__).parent / "told").glob("*.txt"))


@pytest.mark.parametrize("file", TOLD, ids=lambda file: file.stem)
def test_a_session_says_what_it_should(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    text = file.read_text(encoding="utf-8")
    assert Session().play(text) == text
