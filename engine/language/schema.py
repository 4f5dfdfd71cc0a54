"""The JSON Schemas of the files, for editors: they complete keys, show what each means, and underline what can't be.

A schema is laxer than `check`: it knows keys and shapes, not the names of the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from engine.language.journey import Journey
from engine.language.project import Project, Segments
from engine.language.registry import Registry
from engine.language.scenario import Scenarios

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"

Schema = dict[str, Any]


def schemas(registry: Registry) -> dict[str, Schema]:
    """The schema of each kind of file, by name: journey, project, segments, test."""
    models: dict[str, type[BaseModel]] = {
        "journey": Journey,
        "project": Project,
        "segments": Segments,
        "test": Scenarios,
    }
    return {name: schema(model, registry) for name, model in models.items()}


def schema(model: type[BaseModel], registry: Registry) -> Schema:
    """The schema of one model, with the registry's steps and triggers where it takes any of them."""
    made = model.model_json_schema(by_alias=True)
    definitions: Schema = made.pop("$defs", {})
    if _takes(made) | _takes(definitions):
        steps = {name: _named(step, name) for name, step in registry.steps.items() if step.available}
        triggers = {name: _named(one, None) for name, one in registry.triggers.items() if one.available}
        for kind, group in (("Step", steps), ("Enter", triggers)):
            for name, (own, inner) in group.items():
                definitions.update(inner)
                definitions[f"{kind}.{name}"] = own
            definitions[kind] = {"anyOf": [{"$ref": f"{_REF}{kind}.{name}"} for name in group]}
        definitions["Step"] = _by_key(registry, steps)
    made = {"$schema": DIALECT, "title": f"Karibu {model.__name__.lower()}", **made, "$defs": definitions}
    return _loose(_linked(made))  # type: ignore[no-any-return]


def settings() -> Schema:
    """VS Code's `yaml.schemas` setting: which schema checks which files."""
    return {
        "yaml.schemas": {
            ".karibu/schema/project.json": "workflows/project.yaml",
            ".karibu/schema/segments.json": "workflows/segments.yaml",
            ".karibu/schema/test.json": "workflows/*.test.yaml",
            ".karibu/schema/journey.json": ["workflows/*.yaml", "!workflows/project.yaml", "!workflows/segments.yaml"],
        }
    }


def _named(model: type[BaseModel], key: str | None) -> tuple[Schema, Schema]:
    made = model.model_json_schema(by_alias=True)
    inner = made.pop("$defs", {})
    made["title"] = key or made["title"]
    return made, inner


def _by_key(registry: Registry, steps: Mapping[str, Any]) -> Schema:
    """A step is told by its key, so an editor underlines only what is wrong with that step, not that it is no other."""
    return {
        "type": "object",
        "anyOf": [{"required": [name]} for name in steps],
        "allOf": [{"if": {"required": [name]}, "then": {"$ref": f"{_REF}Step.{name}"}} for name in _narrow(registry)],
    }


def _narrow(registry: Registry) -> list[str]:
    """Steps whose name is no option of another step: their key alone tells what they are."""
    options = {key for step in registry.steps.values() for key in step.keys() if key != step.type}  # noqa: SIM118
    return [name for name, step in registry.steps.items() if step.available and name not in options]


def _takes(part: Any) -> bool:
    if isinstance(part, dict):
        return "x-karibu" in part or any(_takes(value) for value in part.values())
    return isinstance(part, list) and any(_takes(value) for value in part)


def _linked(part: Any) -> Any:
    """Puts references in place of what the models leave open."""
    if isinstance(part, list):
        return [_linked(value) for value in part]
    if not isinstance(part, dict):
        return part
    if "x-karibu" in part:
        return {"$ref": _REF + part["x-karibu"]} | (
            {"description": part["description"]} if "description" in part else {}
        )
    return {key: _linked(value) for key, value in part.items()}


def _loose(part: Any) -> Any:
    """As editors read YAML: `12` is a number and `true` a boolean to them, where all is text to us. There is no
    null.
    """
    if isinstance(part, list):
        return [_loose(value) for value in part]
    if not isinstance(part, dict):
        return part
    loose = {key: _loose(value) for key, value in part.items() if not (key == "default" and value is None)}
    if loose.get("type") == "string" and "pattern" not in loose and "enum" not in loose:
        loose["type"] = ["string", "number", "boolean"]
    if isinstance(loose.get("anyOf"), list):
        kinds = [kind for kind in loose["anyOf"] if kind != {"type": "null"}]
        if len(kinds) == 1:
            loose = {**kinds[0], **{key: value for key, value in loose.items() if key != "anyOf"}}
        else:
            loose["anyOf"] = kinds
    return loose
