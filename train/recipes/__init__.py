"""Recipes: each is a network with the settings that it is trained with."""

from train.recipes import compact, photo, resnet50
from train.recipes.recipe import P_REAL, Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (compact.RECIPE, compact.SMALL_RECIPE, resnet50.RECIPE, photo.RECIPE)
}

__all__ = ["P_REAL", "RECIPES", "Recipe"]
