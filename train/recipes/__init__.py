"""Recipes: each one a network and the settings it is trained with, short enough to read."""

from train.recipes import compact, photo, resnet50
from train.recipes.recipe import P_REAL, Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (compact.RECIPE, compact.SMALL_RECIPE, resnet50.RECIPE, photo.RECIPE)
}

__all__ = ["P_REAL", "RECIPES", "Recipe"]
