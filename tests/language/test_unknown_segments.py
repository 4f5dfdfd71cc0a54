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


def test_a_faulty_segment_hides_no_fault_of_another_and_is_there(tmp_path: Path) -> None:
    segments = (
        'a_b: customer.vip\nempty:\nother: {wen: customer.vip}\nrich: customer.spnt > 5 and in_segment("empty")\n'
    )
    journey = JOURNEY.replace(
        "event: signed_up", 'segment: other, audience: in_segment("empty") and in_segment("nope")'
    )
    project(tmp_path, j=journey, segments=segments)
    _, problems = check_directory(tmp_path, registry(), None)
    assert [problem.headline.partition(" (")[0] for problem in problems] == [
        'workflows/j.yaml:3:70 enter.audience: unknown segment "nope"',
        'workflows/segments.yaml:1:1 a_b: "a_b" can\'t be the name of a segment',
        "workflows/segments.yaml:2:1 empty: a value is missing after empty:",
        'workflows/segments.yaml:3:9 other.wen: unknown key "wen"',
        'workflows/segments.yaml:4:16 rich: unknown name "customer.spnt"',
    ]
