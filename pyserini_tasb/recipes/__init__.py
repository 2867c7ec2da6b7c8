"""Typed YAML recipes: encoder cards, fusion recipes and regressions, and where they are looked up."""

from pyserini_tasb.recipes.encoder_cards import encoder_card, encoder_cards
from pyserini_tasb.recipes.folders import own_folder, recipe_files, user_folder
from pyserini_tasb.recipes.fusion_recipes import fusion_recipe
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.regression_types import Prebuilt, Regression, TopicSet
from pyserini_tasb.recipes.regressions import prebuilt, regression, regression_file, topic_set
from pyserini_tasb.recipes.types import EncoderCard, FusionInput, FusionRecipe, WeightProvenance

__all__ = [
    "EncoderCard",
    "FusionInput",
    "FusionRecipe",
    "Prebuilt",
    "Regression",
    "TopicSet",
    "WeightProvenance",
    "encoder_card",
    "encoder_cards",
    "fusion_recipe",
    "load_recipe",
    "own_folder",
    "prebuilt",
    "recipe_files",
    "regression",
    "regression_file",
    "topic_set",
    "user_folder",
]
