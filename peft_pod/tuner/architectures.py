"""Where base models differ in how their encoder is to be called.

Most architectures take `inputs_embeds` and a mask and need nothing of this. What the others need stands in
`ARCHITECTURES`, by the `model_type` of the base's configuration: one entry an architecture.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoEModelOutput
from transformers.utils import ModelOutput

ENCODER_SETTINGS = ("output_attentions", "output_hidden_states", "output_router_logits")
DECODER_INPUTS = ("labels", "decoder_input_ids", "decoder_inputs_embeds")


def _unscaled(model: PreTrainedModel) -> float:
    return 1.0


def _unchanged(model: PreTrainedModel, call: dict[str, Any], generating: bool) -> dict[str, Any]:
    return call


@dataclass(frozen=True)
class Architecture:
    """What is special about calling one architecture with embeddings in place of tokens.

    Args:
        input_scale: from the base, the factor by which its encoder multiplies the `inputs_embeds` it is given. Prompts
            and whole-word embeddings are divided by it, so that they enter at the scale the encoder works on, as they
            do elsewhere.
        length_arguments: further arguments of shape `(batch, length)`, and what they hold for the prompts.
        encode: runs its encoder beforehand, where that needs another call than the base makes; takes the base and the
            arguments.
        complete: mends the arguments of a call of the base; takes the base, the arguments, and whether `generate` is
            called rather than `forward`.
    """

    input_scale: Callable[[PreTrainedModel], float] = _unscaled
    length_arguments: Mapping[str, int] = field(default_factory=dict)
    encode: Callable[[PreTrainedModel, dict[str, Any]], Any] | None = None
    complete: Callable[[PreTrainedModel, dict[str, Any], bool], dict[str, Any]] = _unchanged


def architecture_of(model: PreTrainedModel) -> Architecture:
    """What is special about a base; an entry without anything special where nothing is known."""
    return ARCHITECTURES.get(model.config.model_type, Architecture())


def complete_call(
    model: PreTrainedModel, call: dict[str, Any], num_virtual_tokens: int, *, generating: bool
) -> dict[str, Any]:
    """Turn arguments that hold the assembled input into those that this base needs.

    Args:
        model: the base.
        call: arguments for the base, with `inputs_embeds` or `encoder_outputs`, prompts included.
        num_virtual_tokens: number of prompts in front.
        generating: whether the arguments are for `generate` rather than `forward`.

    Returns:
        The arguments to call the base with; `call` itself stays as it was.

    Raises:
        ValueError: a forward call has nothing for the decoder. Some bases would take the encoder's tokens shifted by
            one, which are not at hand where the encoder is given embeddings; others fail without a reason.
    """
    if not generating and all(call.get(name) is None for name in DECODER_INPUTS):
        raise ValueError(
            "the decoder has no input: pass labels=, decoder_input_ids= or decoder_inputs_embeds=, or use generate()"
        )
    architecture = architecture_of(model)
    call = dict(call)
    for name, value in architecture.length_arguments.items():
        if call.get(name) is not None:
            call[name] = _extend(name, call[name], value, num_virtual_tokens, call.get("attention_mask"))
    if architecture.encode is not None and call.get("inputs_embeds") is not None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not generating):
            encoder_outputs = architecture.encode(model, call)
        call = {**call, "encoder_outputs": encoder_outputs}
        del call["inputs_embeds"]
    return architecture.complete(model, call, generating)


def _extend(
    name: str, given: torch.Tensor, value: int, num_virtual_tokens: int, attention_mask: torch.Tensor | None
) -> torch.Tensor:
    length = given.shape[1] + num_virtual_tokens
    if attention_mask is not None and attention_mask.shape[1] not in (given.shape[1], length):
        raise ValueError(
            f"{name} has length {given.shape[1]}, but the input {attention_mask.shape[1] - num_virtual_tokens}"
        )
    if attention_mask is not None and attention_mask.shape[1] == given.shape[1]:
        return given
    return torch.nn.functional.pad(given, (num_virtual_tokens, 0), value=value)


def check_text_encoder(model: PreTrainedModel) -> None:
    """Check that a base reads tokens by an encoder that also takes embeddings, and writes text.

    Raises:
        ValueError: it does not; the message says what is missing.
    """
    name = type(model).__name__
    if model.main_input_name != "input_ids":
        raise ValueError(f"POD puts prompts in front of text, but {name} reads {model.main_input_name!r} and no text")
    for module in (model, model.get_encoder()):
        if "inputs_embeds" not in inspect.signature(module.forward).parameters:
            whose = name if module is model else f"{type(module).__name__}, the encoder of {name},"
            raise ValueError(f"POD gives the encoder embeddings, but {whose} takes no inputs_embeds")
    if hasattr(model, "vocoder"):
        raise ValueError(f"POD needs a model that writes text, but {name} speaks; use its class ...ForTextToText")
    if not hasattr(model, "prepare_inputs_for_generation"):
        raise ValueError(
            f"POD needs a model that writes text, but {name} has no head to do it; use its class "
            "...ForConditionalGeneration"
        )


def _encode(model: PreTrainedModel, call: dict[str, Any]) -> Any:
    return model.get_encoder()(
        input_ids=None,
        inputs_embeds=call["inputs_embeds"],
        attention_mask=call["attention_mask"],
        return_dict=True,
        **{name: call[name] for name in ENCODER_SETTINGS if name in call},
    )


def _encode_counting(model: PreTrainedModel, call: dict[str, Any]) -> Any:
    """Run an encoder that counts positions over tokens that are not padding, and have it count by the mask.

    Given embeddings it would take padding for tokens (M2M100, NLLB-MoE), or an embedding for padding when one of its
    values happens to be 0 or the padding token's ID (FSMT, SeamlessM4T), and so shift what comes after it.
    """
    positions = cast(Any, model.get_encoder()).embed_positions
    tokens = call["attention_mask"].ne(0).long() + positions.padding_idx  # any ID but padding's does for a token
    hook = positions.register_forward_pre_hook(lambda module, arguments: (tokens,))
    try:
        return _encode(model, call)
    finally:
        hook.remove()


def _complete_outputs(model: PreTrainedModel, call: dict[str, Any], generating: bool) -> dict[str, Any]:
    """Give encoder outputs of the caller the names that this base looks for, which a tuple and others lack."""
    outputs = call.get("encoder_outputs")
    if outputs is not None and not hasattr(outputs, "router_logits"):
        call["encoder_outputs"] = MoEModelOutput(
            last_hidden_state=outputs[0],
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )
    return call


def _complete_fsmt(model: PreTrainedModel, call: dict[str, Any], generating: bool) -> dict[str, Any]:
    """Have FSMT make its causal mask, and decoder inputs from labels: it does neither without `input_ids`."""
    if generating:
        return call
    if call.get("labels") is not None and all(call.get(name) is None for name in DECODER_INPUTS[1:]):
        # A copy, because FSMT would write padding tokens over the labels' -100, and so into the loss.
        call["decoder_input_ids"] = cast(Any, model).prepare_decoder_input_ids_from_labels(call["labels"].clone())
    if call.get("decoder_input_ids") is not None:
        # Their presence is what the mask hangs on, and no cache, which FSMT makes unless told not to; nothing looks at
        # them beside encoder outputs and decoder inputs.
        call["input_ids"] = call["decoder_input_ids"]
        call["use_cache"] = bool(call.get("use_cache"))
    as_tuple = not (model.config.return_dict if call.get("return_dict") is None else call["return_dict"])
    if as_tuple and isinstance(call.get("encoder_outputs"), ModelOutput):
        call["encoder_outputs"] = call["encoder_outputs"].to_tuple()  # FSMT adds the decoder's tuple to it
    return call


def _scale_of_encoder(model: PreTrainedModel) -> float:
    return float(cast(Any, model.get_encoder()).embed_scale)


def _root_of_width(model: PreTrainedModel) -> float:
    return float(model.get_encoder().config.hidden_size) ** 0.5


ARCHITECTURES: dict[str, Architecture] = {
    "fsmt": Architecture(input_scale=_scale_of_encoder, encode=_encode_counting, complete=_complete_fsmt),
    "m2m_100": Architecture(encode=_encode_counting),
    "nllb-moe": Architecture(encode=_encode_counting, complete=_complete_outputs),
    "seamless_m4t": Architecture(encode=_encode_counting),
    "seamless_m4t_v2": Architecture(encode=_encode_counting),
    # Prompts say what the task is, which is what the Longformer's authors want global attention for.
    "led": Architecture(length_arguments={"global_attention_mask": 1}),
    # The base hands `use_cache=True` to its encoder too, which refuses it.
    "switch_transformers": Architecture(encode=_encode, complete=_complete_outputs),
    "prophetnet": Architecture(complete=_complete_outputs),
    "t5gemma": Architecture(input_scale=_root_of_width, complete=_complete_outputs),
    "t5gemma2": Architecture(complete=_complete_outputs),
}
