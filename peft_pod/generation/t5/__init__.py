"""Inference of T5-type models without padding, copies of inputs for beams, or copies of beams."""

from .decoder import NO_PARENT, DecodedTree
from .encoder import encode
from .inference import Encoded, T5Inference, why_not
from .weights import T5Weights

__all__ = ["NO_PARENT", "DecodedTree", "Encoded", "T5Inference", "T5Weights", "encode", "why_not"]
