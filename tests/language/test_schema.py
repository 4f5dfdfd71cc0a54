"""The JSON Schemas: what is sound passes, what an editor can see is wrong is underlined."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from engine.language.schema import schemas, settings
from tests.language.support import HEAD, JOURNEY, PROJECT, SEGMENTS, registry
from tests.language.test_any_file import RICH, STORY

SCHEMAS = schemas(registry())


def faults(kind: str, text: str) -> list[str]:
    """What an editor underlines, reading YAML its own way."""
    found = Draft202012Validator(SCHEMAS[kind]).iter_errors(YAML(typ="safe", pure=True).load(text))
    return [error.message for error in found]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("journey", RICH), ("journey", JOURNEY), ("project", PROJECT), ("segments", SEGMENTS), ("test", STORY)],
)
def test_what_is_sound_passes(kind: str, text: str) -> None:
    assert faults(kind, text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("journey", HEAD + "steps: [{wiat: 3d}]\n"),
        ("journey", HEAD + "steps: [{send: email/hello, wen: customer.vip}]\n"),
        ("journey", HEAD + "steps: [{send: hello}]\n"),
        ("journey", HEAD + "steps: [{split: [{half: [{wait: 1d}]}]}]\n"),
        ("journey", HEAD + "steps: [{branch: [{if: customer.vip, then: [{sned: email/hello}]}]}]\n"),
        ("journey", HEAD + "caps: []\nsteps: [{wait: 1d}]\n"),
        ("journey", "journey: j\nenter: {evnt: signed_up}\nsteps: [{wait: 1d}]\n"),
        ("journey", "journey: j\nsteps: [{wait: 1d}]\n"),
        ("project", "brand: {name: Duka}\n"),
        ("segments", "vips: [customer.vip]\n"),
        ("test", "- scenario: one\n"),
    ],
)
def test_what_is_wrong_is_underlined(kind: str, text: str) -> None:
    assert faults(kind, text)


@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_a_schema_is_one_and_leaves_nothing_open(kind: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[kind])
    definitions = SCHEMAS[kind]["$defs"]

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            assert "x-karibu" not in part
            if "$ref" in part:
                assert part["$ref"].removeprefix("#/$defs/") in definitions
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(SCHEMAS[kind])


def test_every_step_and_trigger_stands_in_the_schema() -> None:
    definitions = SCHEMAS["journey"]["$defs"]
    assert {name for name in definitions if name.startswith("Step.")} == {f"Step.{name}" for name in registry().steps}
    assert {name for name in definitions if name.startswith("Enter.")} == {
        f"Enter.{name}" for name in registry().triggers
    }


def test_the_editors_setting_names_every_schema() -> None:
    files = settings()["yaml.schemas"]
    assert {name.removeprefix(".karibu/schema/").removesuffix(".json") for name in files} == set(SCHEMAS)
