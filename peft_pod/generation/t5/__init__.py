"""Inference of T5-type models without padding, copies of inputs for beams, or copies of beams."""

from .decoder import NO_PARENT, DecodedTree
from .encoder import encode
from .weights import T5Weights

__all__ = ["NO_PARENT", "DecodedTree", "T5Weights", "encode"]
