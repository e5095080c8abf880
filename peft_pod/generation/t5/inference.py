"""A T5-type model, with or without a POD adapter, ready for fast inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from peft_pod.generation.evaluating import evaluating
from peft_pod.tuner.model import PODModel

from .decoder import NO_PARENT, DecodedTree
from .encoder import encode
from .weights import T5Weights

MODEL_TYPES = ("t5", "mt5", "umt5")
_LOOKED_AT = 16
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of inputs, and the weights with which it did, which the decoder must go on with.

    Attributes:
        weights: of the model at that time.
        states: see `encode`.
        mask: true where there is no padding.
    """

    weights: T5Weights
    states: torch.Tensor
    mask: torch.Tensor

    def tree(self) -> DecodedTree:
        """An empty tree for each input; see `DecodedTree`."""
        return DecodedTree(self.weights, self.states, self.mask)

    def split(self, size: int) -> list[Encoded]:
        """Parts of as many inputs; the last one may have fewer."""
        parts = zip(self.states.split(size), self.mask.split(size), strict=True)
        return [Encoded(self.weights, states, mask) for states, mask in parts]


class T5Inference:
    """Encodes inputs and grows trees of decoded tokens as the model would.

    The model's weights are laid out when they are first needed and whenever they have changed since, also where another
    adapter was made active.

    Args:
        model: see `why_not`.
        dtype: in which products and attention are computed, `torch.float32` or `torch.bfloat16`.

    Raises:
        ValueError: the model is not covered; the message says why.
    """

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        reason = why_not(model)
        if reason:
            raise ValueError(f"fast inference does not cover this model: {reason}")
        if dtype not in _TOLERANCE:
            raise ValueError(f"dtype must be torch.float32 or torch.bfloat16, got {dtype}")
        self._model = model
        self._dtype = dtype
        self._laid_out: tuple[Any, T5Weights] | None = None

    @property
    def base(self) -> Any:
        """The model without PEFT."""
        return self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model

    @torch.no_grad()
    def weights(self) -> T5Weights:
        """The weights as they are now.

        Raises:
            RuntimeError: what comes out with them is not what the model gives.
        """
        state = _state(self._model)
        if self._laid_out is None or self._laid_out[0] != state:
            with evaluating(self._model):
                weights = T5Weights.of(self.base, self._dtype)
                self._check(weights)
            self._laid_out = state, weights
        return self._laid_out[1]

    @torch.no_grad()
    def encode(self, inputs: Mapping[str, Any]) -> Encoded:
        """Run the encoder.

        Args:
            inputs: what the model's `forward` takes, without labels.
        """
        given = dict(inputs)
        if isinstance(self._model, PeftModel):
            tuner: Any = self._model.base_model
            given = tuner.encoder_inputs(**given)
        embeddings = given.get("inputs_embeds")
        if embeddings is None:
            embeddings = self.base.get_encoder().embed_tokens(given["input_ids"])
        mask = given["attention_mask"].bool()
        weights = self.weights()
        return Encoded(weights, encode(weights.encoder, embeddings, mask), mask)

    def _check(self, weights: T5Weights) -> None:
        """Compare with the model on a few tokens, so that a base that is built otherwise is found out."""
        base = self.base
        device = weights.head.rows.device
        tokens = torch.arange(12, device=device).view(2, 6) % len(weights.head.rows)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[1, 4:] = False
        logits = base(input_ids=tokens, attention_mask=mask.long(), decoder_input_ids=tokens[:, :3]).logits.float()
        tree = DecodedTree(weights, encode(weights.encoder, base.get_encoder().embed_tokens(tokens), mask), mask)
        chain = torch.arange(NO_PARENT, 2, device=device).expand(2, -1)
        found = weights.head(tree.grow(tokens[:, :3], chain))
        difference = float((found - logits).norm() / logits.norm())
        # A base that is held in bfloat16 rounds its own logits.
        tolerance = max(_TOLERANCE[weights.dtype], _TOLERANCE[base.lm_head.weight.dtype])
        if not difference <= tolerance:
            raise RuntimeError(
                f"fast inference gives other logits than {type(base).__name__} (relative difference {difference:.2g}); "
                'please report this, and use method="generate" until it is mended'
            )


def why_not(model: Any) -> str | None:
    """Why fast inference does not cover a model; `None` where it does.

    Args:
        model: any model of transformers or PEFT.
    """
    if isinstance(model, PeftModel):
        if not isinstance(model.base_model, PODModel):
            return f"its adapter is of type {type(model.base_model).__name__}, not POD"
        model = model.get_base_model()
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in MODEL_TYPES or not hasattr(model, "lm_head"):
        return f"its base is of type {kind!r}, not one of {list(MODEL_TYPES)} for conditional generation"
    if model.lm_head.weight.dtype not in _TOLERANCE:
        return f"its base is held in {model.lm_head.weight.dtype}"
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        return "its base is spread over devices"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "its base is spread over devices"
    return None


def _state(model: nn.Module) -> Any:
    """Changes whenever parameters change, or another adapter is used.

    PyTorch counts changes of a parameter, but not those of its `data`, so some of its numbers are looked at too.
    """
    adapters: Any = None
    if isinstance(model, PeftModel):
        tuner: Any = model.base_model
        adapters = (tuple(tuner.active_adapters), tuner.prompts.disable_adapters, tuple(tuner.prompts.merged_adapters))
    parameters = list(model.parameters())
    versions = tuple(
        (parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version, parameter.dtype)
        for parameter in parameters
    )
    looked_at = [
        parameter.detach().flatten()[:: max(1, parameter.numel() // _LOOKED_AT)].double().sum()
        for parameter in parameters
    ]
    return adapters, versions, tuple(torch.stack(looked_at).tolist())
