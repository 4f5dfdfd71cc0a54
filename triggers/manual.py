"""`enter: {manual: true}`: the API or `karibu enter` says so."""

from __future__ import annotations

from pydantic import Field

from engine.language.errors import Wrong
from engine.language.fields import YesNo
from engine.language.journey import TriggerModel
from engine.language.registry import trigger


@trigger("manual")
class ManualTrigger(TriggerModel):
    """Lets in whom the API, `karibu enter` or another journey's `start` names."""

    manual: YesNo = Field(description="Always true.")

    def model_post_init(self, context: object) -> None:
        if not self.manual:
            raise Wrong("a journey that nothing lets in never runs", "write manual: true", at=("manual",))
