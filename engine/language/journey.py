"""The model of a journey, and the base classes of its steps and triggers.

A step in YAML is one mapping: the key named like the step, and its options beside it. The whole mapping is validated
by the model that the registry holds for that name; the registry comes in as the validation context, so the language
imports no step.

    - wait_for: {event: purchase, within: 14d}
      id: bought
      then: [...]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from engine.language.errors import Path, Wrong, did_you_mean, nearest
from engine.language.fields import (
    CHANNELS,
    Condition,
    EventAmount,
    EventName,
    Key,
    Model,
    NewJourneyName,
    NewStepId,
    Percent,
    StepId,
    Text,
    TopicName,
    Where,
    parse_percent,
    whole,
)
from engine.language.moments import Duration, duration_text, parse_duration, text_or
from engine.language.naming import either, first_named, unknown
from engine.language.registry import Registry
from engine.language.types import Type

LONGEST_GOAL = timedelta(days=365)
"""So long after an entry its goal may still be reached: the engine keeps the goals of versions that were replaced for
little longer."""

MESSAGES = ("send", "ask")
"""Steps whose message a journey may speak of: opened("id"), clicked("id")."""


@dataclass(frozen=True)
class ArmOf:
    """One way on from a step: its label, its steps, and where they stand below the step in YAML.

    A step that has arms leaves by them only: a branch without `else` lists an empty arm for it, which leads to what
    follows the step.
    """

    label: str
    steps: Block
    path: Path
    condition: str | None = None


@dataclass(frozen=True)
class Awaits:
    """What a step listens for: the event, the condition on it, the longest time (None: no end) and the arm that is
    taken when it comes.
    """

    event: str
    where: str | None
    within: timedelta | None
    arm: str


@dataclass(frozen=True)
class Saves:
    """What a step keeps for the steps after it: a name, and the type of the object that it stands for."""

    name: str
    type: Type


@dataclass(frozen=True)
class Repeats:
    """Whose items a step sends through its arms, each on a way of its own that ends with the arm: the list, and what an
    item is called there."""

    list: str
    name: str


@dataclass(frozen=True)
class Complaint:
    """What a step has to say against itself beyond its fields, told by `check`: where below the step, what, and
    what to do.
    """

    path: Path
    message: str
    hint: str | None = None
    on_key: bool = False


@dataclass(frozen=True)
class Dated:
    """A moment on the wall clock that a step or a trigger names: where below it, when, and what becomes of customers
    once it has gone by.
    """

    path: Path
    moment: datetime
    then: str


class StepModel(Model):
    """The fields of a step in YAML. The decorator @step gives it its `type`."""

    type: ClassVar[str] = ""
    falls_through: ClassVar[bool] = True  # False: what follows is never reached from here (exit, goto)
    waits: ClassVar[bool] = False  # a loop through this step is fine
    available: ClassVar[bool] = True  # False: a known word that check refuses as not available yet

    id: NewStepId | None = Field(None, description="Names the step, so that it survives edits and can be spoken of.")

    def arms(self) -> tuple[ArmOf, ...]:
        """The ways on, if the step chooses one; none if it simply goes to the next."""
        return ()

    def jumps(self) -> tuple[str, ...]:
        """Ids of steps it may send customers to, beside its arms and the next step."""
        return ()

    def stands_for(self) -> str | None:
        """The id of the step that is meant wherever this one is led to: a goto is an edge, not a place."""
        return None

    def awaits(self) -> Awaits | None:
        """The event this step listens for."""
        return None

    def saves(self) -> Saves | None:
        """What expressions may name once a customer has come through."""
        return None

    def repeats(self) -> Repeats | None:
        """The list whose items take its arms; the customer goes on to the next step."""
        return None

    def may_pass_at_once(self) -> bool:
        """Whether a customer may leave in the pass they came in: a loop made only of such steps would never rest."""
        return not self.waits

    def starts(self) -> tuple[str, ...]:
        """The journeys it sends customers to."""
        return ()

    def dated(self) -> Iterable[Dated]:
        """The days this step names."""
        return ()

    def complaints(self) -> Iterable[Complaint]:
        """What is wrong with this step that no single field shows."""
        return ()

    @classmethod
    def unknown_key(cls, key: str, context: Any) -> Wrong:
        if isinstance(context, Registry):
            if key in context.steps:
                hint = "begin each step with its own -"
                return Wrong(f"this is {cls.type} and {key} in one step", hint, on_key=True)
            if owners := [name for name, model in context.steps.items() if key in set(model.keys())]:
                return Wrong(f'{cls.type} has no "{key}"', f"it belongs to {either(owners)}", on_key=True)
        return super().unknown_key(key, context)


class TriggerModel(Model):
    """The fields that every `enter:` has. The decorator @trigger gives it its `type`."""

    type: ClassVar[str] = ""
    available: ClassVar[bool] = True

    audience: Condition | None = Field(None, description="Who may enter: a condition on the customer.")
    key: Key | None = Field(None, description="What makes two entries the same one. Default: the customer.")
    again: AgainRule = Field(
        default_factory=lambda: Again("never"),
        description="May the same customer enter again? Where a yearly date says nothing of it: `after exit`.",
    )
    limit: Limit | None = Field(None, description="At most so many entries.")
    grace: Duration | None = Field(None, description="So long a false audience is judged again.")

    def entry_event(self) -> str | None:
        """The event that `entry.*` is, or None when no event lets customers in."""
        return None

    def broadcasts(self) -> bool:
        """Whether it lets a whole audience in at once."""
        return False

    def leap_day_in_march(self) -> bool:
        """Whether 29 February comes on 1 March in a year without one."""
        return False

    def dated(self) -> Iterable[Dated]:
        """The days this trigger names."""
        return ()

    def complaints(self) -> Iterable[Complaint]:
        """What is wrong with this trigger that no single field shows."""
        return ()

    @classmethod
    def unknown_key(cls, key: str, context: Any) -> Wrong:
        if isinstance(context, Registry):
            if key in context.triggers:
                hint = "a journey has one way in; remove one of the two"
                return Wrong(f"this is {cls.type} and {key} in one trigger", hint, on_key=True)
            if owners := [name for name, model in context.triggers.items() if key in set(model.keys())]:
                return Wrong(f'{cls.type} has no "{key}"', f"it belongs to {either(owners)}", on_key=True)
        return super().unknown_key(key, context)


@dataclass(frozen=True)
class Again:
    """Whether the same key may enter again: `after` holds the time since the last entry, for `after 30d`."""

    rule: Literal["never", "after exit", "after", "always", "restart"]
    after: timedelta | None = None

    def __str__(self) -> str:
        return f"after {duration_text(self.after)}" if self.after is not None else self.rule


def parse_again(text: str) -> Again:
    """`never`, `after exit`, `after 30d`, `always` or `restart`."""
    words = text.split()
    if words in (["never"], ["always"], ["restart"], ["after", "exit"]):
        return Again(" ".join(words))  # type: ignore[arg-type]
    if len(words) == 2 and words[0] == "after":
        return Again("after", parse_duration(words[1]))
    raise Wrong(f'"{text}" is no rule for entering again', "write never, after exit, after 30d, always or restart")


AgainRule = Annotated[
    Again,
    text_or(Again, parse_again),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(never|always|restart|after exit|after [0-9]+[mhdw])$"}),
]


class Limit(Model):
    """At most so many entries in each hour, day or week of the brand's calendar; one too many is skipped or waits
    for the next.
    """

    at_most: Annotated[int, *whole(1, 1_000_000_000)]
    per: Literal["hour", "day", "week"]
    over: Literal["skip", "wait"] = "skip"


class ExitRule(Model):
    """What ends the journey for a customer: an event, or a condition that becomes true."""

    event: EventName | None = None
    where: Where | None = None
    when: Condition | None = None

    @model_validator(mode="after")
    def _one_cause(self) -> ExitRule:
        if (self.event is None) == (self.when is None):
            raise Wrong("an exit is either an event or a condition", "write event: NAME or when: CONDITION")
        if self.where is not None and self.event is None:
            raise Wrong(
                "where judges an event, and this exit names none", "write when: CONDITION instead", at=("where",)
            )
        return self


class Goal(Model):
    """What the journey is for: an event within a time from entry. It only measures, unless on_reach or jump makes
    it act.
    """

    event: EventName
    within: Duration
    where: Where | None = None
    value: EventAmount | None = Field(None, description="What a reached goal is worth, like event.total.")
    on_reach: Literal["exit"] | None = None
    jump: StepId | None = None

    @model_validator(mode="after")
    def _one_act(self) -> Goal:
        if self.on_reach and self.jump:
            raise Wrong("a goal either exits or jumps", "remove on_reach or jump", at=("jump",), on_key=True)
        return self


def _registry(info: ValidationInfo) -> Registry:
    if not isinstance(info.context, Registry):
        raise TypeError("steps and triggers are read with the registry as the validation context")
    return info.context


class GivenUp(dict[str, Any]):
    """The mapping of a step that is known to be faulty; it says itself what it is read as."""

    def read(self, registry: Registry) -> StepModel:
        raise NotImplementedError


def read_step(value: Any, info: ValidationInfo) -> StepModel:
    """The step of one mapping, by the key that names it."""
    if isinstance(value, StepModel):
        return value
    registry = _registry(info)
    if isinstance(value, GivenUp):
        return value.read(registry)
    if isinstance(value, str):
        if value.partition("/")[0] in CHANNELS:
            raise Wrong("this is a template, and no step", f"write send: {value}")
        raise Wrong(f'a step is written with a colon: "{value or "wait"}: …"', _steps_hint(value, registry))
    if not isinstance(value, Mapping):
        raise Wrong("a step is expected here, like wait: 3d")
    models = {key: registry.steps[key] for key in value if key in registry.steps}
    model = first_named(models)
    if model is None:
        options = {"do"}.union(*(each.keys() for each in registry.steps.values()))
        key = unknown(value, registry.steps, options)
        if key is None:
            raise Wrong("these are options, and no step", "one of " + ", ".join(registry.steps))
        hint = f"write send: {key}/NAME" if key in CHANNELS else did_you_mean(key, registry.steps)
        hint = hint or "known: " + ", ".join(registry.steps)
        raise Wrong(f'unknown step "{key}"', hint, at=(key,), on_key=True, meant=nearest(key, registry.steps))
    if not model.available:
        raise Wrong(f"{model.type} is not available yet", "remove this step", at=(model.type,), on_key=True)
    return model.model_validate(dict(value), context=registry, by_alias=True, by_name=False)


def read_trigger(value: Any, info: ValidationInfo) -> TriggerModel:
    """The trigger of the `enter:` mapping, by the key that names it."""
    if isinstance(value, TriggerModel):
        return value
    registry = _registry(info)
    known = registry.trigger_keys()
    if not isinstance(value, Mapping):
        raise Wrong("enter says what lets customers in", "like enter: {event: signed_up}")
    model = first_named({key: known[key] for key in value if key in known})
    if model is None:
        options = set(TriggerModel.keys()).union(*(each.keys() for each in registry.triggers.values()))
        key = unknown(value, known, options)
        if key is None:
            raise Wrong("enter doesn't say what lets customers in", "one of " + ", ".join(registry.triggers))
        hint, meant = did_you_mean(key, registry.triggers), nearest(key, registry.triggers)
        raise Wrong(f'unknown trigger "{key}"', hint, at=(key,), on_key=True, meant=meant)
    if not model.available:
        raise Wrong(f"{model.type} is not available yet", "choose another way in", at=(model.type,), on_key=True)
    return model.model_validate(dict(value), context=registry, by_alias=True, by_name=False)


def _steps_hint(text: str, registry: Registry) -> str | None:
    if not text:
        return "write a step here, or remove the -"
    return None if text in registry.steps else did_you_mean(text, registry.steps)


# schema.py puts the registry's models in place of x-karibu: pydantic can't know them.
Step = Annotated[StepModel, PlainValidator(read_step), WithJsonSchema({"x-karibu": "Step"})]
Block = tuple[Step, ...]
Enter = Annotated[TriggerModel, PlainValidator(read_trigger), WithJsonSchema({"x-karibu": "Enter"})]


class BranchArm(Model):
    """An arm of a branch: `if` with `then`, or `else` alone."""

    if_: Condition | None = Field(None, alias="if")
    then: Block = ()
    else_: Block | None = Field(None, alias="else")

    @model_validator(mode="after")
    def _if_or_else(self) -> BranchArm:
        if self.if_ is None and self.else_ is None:
            raise Wrong("an arm begins with if: or else:")
        if self.if_ is not None and self.else_ is not None:
            raise Wrong("else is an arm of its own", "begin it with its own -", at=("else",), on_key=True)
        if self.else_ is not None and self.then:
            raise Wrong("then belongs to an if", "write the steps below else:", at=("then",), on_key=True)
        return self


def _as_percentage(schema: dict[str, Any]) -> None:
    """What an editor shall see of a split's arm: one key, a percentage, with steps under it."""
    steps = schema["properties"]["steps"]
    schema.clear()
    schema.update(
        type="object",
        patternProperties={r"^[0-9]{1,3}(\.[0-9]{1,2})?\s*%$": steps},
        additionalProperties=False,
        minProperties=1,
        maxProperties=1,
    )


class SplitArm(Model):
    """An arm of a split, `50%: [steps]`: its share in 1/10000 and its steps. `label` is the percentage as it was
    typed.
    """

    model_config = {"json_schema_extra": _as_percentage}

    label: str
    share: int
    steps: Block

    @model_validator(mode="wrap")
    @classmethod
    def _from_yaml(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(value, Mapping) or {"label", "share", "steps"} <= set(value):
            if isinstance(value, (str, list)):
                raise Wrong("an arm of a split is a percentage with its steps", "like 50%: [...]")
            return handler(value)
        if len(value) != 1:
            raise Wrong(
                "one percentage an arm", "begin each percentage with its own -", at=tuple(value)[1:2], on_key=True
            )
        ((label, steps),) = value.items()
        try:
            share = parse_percent(label)
        except Wrong as wrong:
            raise Wrong(wrong.message, wrong.hint, at=(label,), on_key=True) from None
        # Read under its label, so that problems inside the block carry the key they stand under.
        block = _LABELLED.validate_python({label: steps}, context=info.context)[label]
        return handler({"label": label, "share": share, "steps": block})


_LABELLED: TypeAdapter[dict[str, tuple[StepModel, ...]]] = TypeAdapter(dict[str, Block])


class Canary(Model):
    """What goes first of a marketing broadcast to more than a thousand, and what keeps the rest back."""

    share: Percent = Field(500, description="So many go first; 100% watches nobody.")
    for_: Duration = Field(timedelta(minutes=30), alias="for", description="So long the rest waits once they are out.")
    stop_at: Percent = Field(
        500, description="More refused, bounced or called spam pauses the journey; spam weighs tenfold."
    )


def _of_the_project(value: Any, info: ValidationInfo) -> None:
    if value is not None:
        raise Wrong(f"{info.field_name} belongs in project.yaml, for all journeys", "remove it here", on_key=True)


OfTheProject = Annotated[
    None, PlainValidator(_of_the_project), WithJsonSchema({"not": {}, "description": "Stands in project.yaml."})
]


class Journey(Model):
    """One journey as written. Its name is the name of its file."""

    journey: NewJourneyName
    title: Text | None = None
    topic: TopicName | None = Field(
        None, description="The consent topic of its messages; transactional needs no consent."
    )
    priority: Annotated[int, *whole(0, 100)] = 50
    enter: Enter
    exit: tuple[ExitRule, ...] = ()
    goal: Goal | None = None
    holdout: Percent = Field(0, description="So many enter and are measured, but take no step.")
    steps: Block
    canary: Canary = Field(default_factory=Canary, description="The first slice of a broadcast.")
    caps: OfTheProject = None
    quiet_hours: OfTheProject = None

    @property
    def name(self) -> str:
        return self.journey


for _model in (TriggerModel, SplitArm, BranchArm, Journey):
    _model.model_rebuild()
