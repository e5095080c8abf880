"""Generation: the item trie, constrained beam search, and `Recommender`, the public way to use a trained model."""

from .beam_search import ItemBeams, search_items
from .engine import GenerationEngine, RankedItems
from .item_search import ItemSearch
from .recommender import Recommender
from .results import Recommendation, UserRecommendations
from .settings import GenerationSettings
from .trie import ItemTrie

__all__ = [
    "GenerationEngine",
    "GenerationSettings",
    "ItemBeams",
    "ItemSearch",
    "ItemTrie",
    "RankedItems",
    "Recommendation",
    "Recommender",
    "UserRecommendations",
    "search_items",
]
