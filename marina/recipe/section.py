"""What all sections of a recipe share."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import Field

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
