"""A segment that isn't there is told with the file it would stand in."""

from __future__ import annotations

from pathlib import Path

from engine.language.check import check_directory
from tests.language.support import JOURNEY, project, registry


def test_a_project_without_segments_is_told_where_they_stand(tmp_path: Path) -> None:
    project(tmp_path, j=JOURNEY.replace("event: signed_up", "segment: lapsed"))
    (tmp_path / "workflows/segments.yaml").unlink()
    _, problems = check_directory(tmp_path, registry(), None)
    assert [problem.headline for problem in problems] == [
        'workflows/j.yaml:3:18 enter.segment: unknown segment "lapsed" (segments.yaml names no segment yet)'
    ]
