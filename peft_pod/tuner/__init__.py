"""POD as a PEFT method, laid out as PEFT lays out its own."""

from .config import PODConfig, PromptDistillationConfig
from .hotswap import hotswap_adapter
from .initialisation import template_texts
from .layer import PromptLayer
from .model import PODModel

__all__ = ["PODConfig", "PODModel", "PromptDistillationConfig", "PromptLayer", "hotswap_adapter", "template_texts"]
