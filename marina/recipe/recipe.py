"""A whole recipe: one model, from its images to its endpoint."""

from __future__ import annotations

from typing import Annotated

import pydantic
import yaml
from pydantic import Field

from handlers.image_spec import ImageSpec
from marina.recipe.architecture import Architecture
from marina.recipe.data import Data
from marina.recipe.section import Section
from marina.recipe.serve import Serve
from marina.recipe.train import Train


class Recipe(Section):
    """One model, from its images to its endpoint."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    data: Data
    architecture: Architecture
    train: Train
    image: ImageSpec
    serve: Serve = Serve()

    @pydantic.field_validator("name")
    @classmethod
    def _spare_the_token_api(cls, name: str) -> str:
        if name.startswith("token"):
            # TorchServe 0.12 takes any management path with "/token" in it for its token API.
            raise ValueError("a name may not start with 'token': TorchServe could not manage it")
        return name

    def as_yaml(self) -> str:
        """Give the whole recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
