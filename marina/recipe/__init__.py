"""The typed form of a ``models/*.yaml``: everything that makes one model, in one file.

A recipe is frozen once it is read. Unknown keys are refused by name, with the nearest valid key;
every rule that a value must meet stands here, so the rest of the library never checks again.
"""

from marina.recipe.architecture import Architecture
from marina.recipe.augment import Augment, Mix
from marina.recipe.data import Data, SplitName, Synthetic
from marina.recipe.reading import read_recipe
from marina.recipe.recipe import Recipe
from marina.recipe.serve import Serve
from marina.recipe.train import FineTune, Train

__all__ = [
    "Architecture",
    "Augment",
    "Data",
    "FineTune",
    "Mix",
    "Recipe",
    "Serve",
    "SplitName",
    "Synthetic",
    "Train",
    "read_recipe",
]
