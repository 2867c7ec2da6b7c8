"""Typed YAML recipes: encoder cards, fusion recipes and regressions, and where they are looked up."""

from pyserini_tasb.recipes.encoder_cards import encoder_card, encoder_cards
from pyserini_tasb.recipes.folders import own_folder, recipe_files, user_folder
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.types import EncoderCard, FusionRecipe, Regression

__all__ = [
    "EncoderCard",
    "FusionRecipe",
    "Regression",
    "encoder_card",
    "encoder_cards",
    "load_recipe",
    "own_folder",
    "recipe_files",
    "user_folder",
]
