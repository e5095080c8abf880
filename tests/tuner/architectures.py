"""Every text-to-text architecture of transformers, tiny: the list that the suite runs over and the docs are made of.

`python -m tests.tuner.architectures` prints docs/architectures.md.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers as hf
from transformers import PretrainedConfig, PreTrainedModel

VOCABULARY = 60
TARGET_VOCABULARY = 48
"""Of the architectures that have another vocabulary for the output."""

# What a base's positions hang on, which decides what left padding does.
Positions = Literal["relative", "from the left", "from tokens"]


@dataclass(frozen=True)
class Architecture:
    """One tiny base.

    Args:
        title: as in the docs.
        make: builds it, with random weights.
        special: what is special about it, for the docs.
        embedding: path of the module by which its encoder embeds tokens.
        scale: how the encoder sees tokens: its embedding matrix times this.
        input_scale: the part of `scale` that the encoder applies to `inputs_embeds` too.
        lora: names of modules for LoRA.
        positions: what its encoder's positions hang on.
        length: of inputs; enough to cross the windows or blocks of attention.
        crosses: the windows or blocks that inputs cross, for the docs.
        padding: the encoder's padding token, where it is not the configuration's.
        length_of_output_is_free: whether what the decoder makes of a token does not hang on how many follow it.
        row_alone: whether a row keeps its output when it is run without its right padding.
    """

    title: str
    make: Callable[[], PreTrainedModel]
    special: str = ""
    embedding: str = "model.encoder.embed_tokens"
    scale: float = 1.0
    input_scale: float = 1.0
    lora: tuple[str, ...] = ("q_proj", "v_proj")
    positions: Positions = "from the left"
    length: int = 8
    crosses: str = ""
    padding: int | None = None
    length_of_output_is_free: bool = True
    row_alone: bool = True


def _build(model_class: Any, config: PretrainedConfig) -> PreTrainedModel:
    model = model_class(_without_dropout(config))
    model.generation_config.forced_eos_token_id = None  # or the last token of every output would be the same
    return model


def _without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    for name, value in list(vars(config).items()):
        if isinstance(value, PretrainedConfig):
            _without_dropout(value)
        elif ("drop" in name or "jitter" in name) and isinstance(value, float | int) and not isinstance(value, bool):
            setattr(config, name, 0.0)
    return config


def _t5(name: str, **settings: Any) -> Callable[[], PreTrainedModel]:
    def make() -> PreTrainedModel:
        config = getattr(hf, f"{name}Config")(
            **{
                "vocab_size": VOCABULARY,
                "d_model": 16,
                "d_kv": 8,
                "d_ff": 32,
                "num_layers": 2,
                "num_decoder_layers": 2,
                "num_heads": 2,
                "decoder_start_token_id": 0,
                "pad_token_id": 0,
                "eos_token_id": 1,
                **settings,
            }
        )
        return _build(getattr(hf, f"{name}ForConditionalGeneration"), config)

    return make


def _bart(
    name: str, model_class: str | None = None, without: tuple[str, ...] = (), **settings: Any
) -> Callable[[], PreTrainedModel]:
    def make() -> PreTrainedModel:
        arguments = {
            "vocab_size": VOCABULARY,
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 64,
            "scale_embedding": True,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": None,
            "init_std": 0.3,
            **settings,
        }
        config = getattr(hf, f"{name}Config")(**{key: arguments[key] for key in arguments if key not in without})
        return _build(getattr(hf, model_class or f"{name}ForConditionalGeneration"), config)

    return make


GEMMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"],
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def _t5gemma() -> PreTrainedModel:
    config = hf.T5GemmaConfig(encoder=dict(GEMMA), decoder=dict(GEMMA), vocab_size=VOCABULARY)
    return _build(hf.T5GemmaForConditionalGeneration, config)


def _t5gemma2() -> PreTrainedModel:
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 8,
        "patch_size": 4,
    }
    encoder = {
        "text_config": dict(GEMMA),
        "vision_config": vision,
        "mm_tokens_per_image": 4,
        "boi_token_index": 57,
        "eoi_token_index": 58,
        "image_token_index": 59,
    }
    config = hf.T5Gemma2Config(encoder=encoder, decoder=dict(GEMMA), image_token_index=59, initializer_range=0.3)
    return _build(hf.T5Gemma2ForConditionalGeneration, config)


def _prophetnet() -> PreTrainedModel:
    config = hf.ProphetNetConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        encoder_ffn_dim=32,
        num_encoder_layers=2,
        num_encoder_attention_heads=2,
        decoder_ffn_dim=32,
        num_decoder_layers=2,
        num_decoder_attention_heads=2,
        max_position_embeddings=64,
        num_buckets=8,
        relative_max_distance=16,
        ngram=2,
        init_std=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return _build(hf.ProphetNetForConditionalGeneration, config)


def _seamless(version: str) -> Callable[[], PreTrainedModel]:
    def make() -> PreTrainedModel:
        config = getattr(hf, f"SeamlessM4T{version}Config")(
            vocab_size=VOCABULARY,
            hidden_size=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_position_embeddings=64,
            initializer_range=0.3,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            decoder_start_token_id=3,
        )
        return _build(getattr(hf, f"SeamlessM4T{version}ForTextToText"), config)

    return make


def _bert_pair() -> PreTrainedModel:
    def bert(hidden_size: int, pad_token_id: int, **settings: Any) -> PretrainedConfig:
        return hf.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=hidden_size,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.3,
            pad_token_id=pad_token_id,
            **settings,
        )

    config = hf.EncoderDecoderConfig.from_encoder_decoder_configs(bert(16, 3), bert(24, 0))
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    return _build(hf.EncoderDecoderModel, config)


SCALE = 4.0
"""The square root of the width, 16."""

OUTER = "scales tokens outside the embedding module, and only tokens: POD does it when it embeds them"
INNER = "the embedding module scales"
FROM_TOKENS = "positions are counted over tokens that are not padding: POD has them counted by the mask"
GUESSES = f"{FROM_TOKENS}, where the base would guess at padding from single values of the embeddings"

T5_PLACES: dict[str, Any] = {"embedding": "encoder.embed_tokens", "lora": ("q", "v"), "positions": "relative"}
SEAMLESS: dict[str, Any] = {
    "special": f"the text-to-text class; {INNER}; {GUESSES}",
    "embedding": "text_encoder.embed_tokens",
    "scale": SCALE,
    "positions": "from tokens",
}

ARCHITECTURES: dict[str, Architecture] = {
    "t5": Architecture("T5", _t5("T5"), **T5_PLACES),
    "mt5": Architecture("mT5", _t5("MT5", tie_word_embeddings=False), special="untied output", **T5_PLACES),
    "umt5": Architecture("UMT5", _t5("UMT5"), special="relative positions of its own in each layer", **T5_PLACES),
    "longt5-local": Architecture(
        "LongT5 (local)",
        _t5("LongT5", encoder_attention_type="local", local_radius=3),
        length=19,
        crosses="6 blocks of 4 tokens",
        **T5_PLACES,
    ),
    "longt5-tglobal": Architecture(
        "LongT5 (transient-global)",
        _t5("LongT5", encoder_attention_type="transient-global", local_radius=3, global_block_size=4),
        special="prompts make up the first global blocks",
        length=19,
        crosses="6 blocks of 4 tokens, local and global",
        **T5_PLACES,
    ),
    "switch": Architecture(
        "SwitchTransformers",
        _t5("SwitchTransformers", num_experts=2, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1),
        special="mixture of experts: prompts and padding take room in an expert's capacity; the base refuses "
        "`use_cache=True` in `forward`, so POD runs the encoder beforehand",
        **T5_PLACES,
    ),
    "t5gemma": Architecture(
        "T5Gemma",
        _t5gemma,
        special="the encoder scales whatever it is given: what POD adds is divided by that first",
        scale=SCALE,
        input_scale=SCALE,
        positions="relative",
        crosses="windows of 4 tokens",
    ),
    "t5gemma2": Architecture(
        "T5Gemma 2",
        _t5gemma2,
        special=f"text only, the vision tower is not run; {INNER}",
        embedding="model.encoder.text_model.embed_tokens",
        scale=SCALE,
        lora=(r".*text_model.*q_proj", r".*decoder.*q_proj"),
        positions="relative",
        crosses="windows of 4 tokens",
    ),
    "bart": Architecture("BART", _bart("Bart"), special=INNER, scale=SCALE),
    "mbart": Architecture("mBART", _bart("MBart"), special=INNER, scale=SCALE),
    "mvp": Architecture("MVP", _bart("Mvp"), special=OUTER, scale=SCALE),
    "plbart": Architecture("PLBart", _bart("PLBart"), special=INNER, scale=SCALE),
    "pegasus": Architecture("Pegasus", _bart("Pegasus", pad_token_id=0), special=OUTER, scale=SCALE),
    "pegasus-x": Architecture(
        "PEGASUS-X",
        _bart("PegasusX", pad_token_id=0, block_size=4, num_global_tokens=2),
        special=INNER,
        scale=SCALE,
        length=19,
        crosses="6 blocks of 4 tokens, staggered",
    ),
    "bigbird-pegasus": Architecture(
        "BigBird-Pegasus (full)",
        _bart("BigBirdPegasus", pad_token_id=0, attention_type="original_full"),
        special=INNER,
        scale=SCALE,
        lora=("query", "q_proj"),
    ),
    "bigbird-pegasus-sparse": Architecture(
        "BigBird-Pegasus (block-sparse)",
        _bart("BigBirdPegasus", pad_token_id=0, attention_type="block_sparse", block_size=2, num_random_blocks=1),
        special=f"{INNER}; prompts lie in the first blocks, the first of which all tokens see; a short input turns the "
        "base to full attention for good, with or without POD",
        scale=SCALE,
        lora=("query", "q_proj"),
        length=19,
        crosses="11 blocks of 2 tokens",
        row_alone=False,  # which blocks are seen by all depends on the length of the input, padding included
    ),
    "led": Architecture(
        "LED",
        _bart(
            "LED",
            without=("max_position_embeddings", "scale_embedding"),
            max_encoder_position_embeddings=64,
            max_decoder_position_embeddings=64,
            attention_window=4,
        ),
        special="embeds padding itself, up to a whole window; `global_attention_mask` is made longer, with ones for "
        "the prompts",
        embedding="led.encoder.embed_tokens",
        lora=("query", "value", "q_proj"),
        length=19,
        crosses="6 windows of 4 tokens",
    ),
    "marian": Architecture("Marian (tied)", _bart("Marian", "MarianMTModel"), special=OUTER, scale=SCALE),
    "marian-untied": Architecture(
        "Marian (untied, two vocabularies)",
        _bart(
            "Marian",
            "MarianMTModel",
            share_encoder_decoder_embeddings=False,
            decoder_vocab_size=TARGET_VOCABULARY,
            tie_word_embeddings=False,
        ),
        special=OUTER,
        scale=SCALE,
    ),
    "m2m100": Architecture(
        "M2M100", _bart("M2M100"), special=f"{INNER}; {FROM_TOKENS}", scale=SCALE, positions="from tokens"
    ),
    "nllb-moe": Architecture(
        "NLLB-MoE",
        _bart(
            "NllbMoe",
            num_experts=2,
            encoder_sparse_step=2,
            decoder_sparse_step=2,
            expert_capacity=64,
        ),
        special=f"{INNER}; {FROM_TOKENS}; mixture of experts: prompts and padding take room in an expert's capacity",
        scale=SCALE,
        positions="from tokens",
    ),
    "blenderbot": Architecture("Blenderbot", _bart("Blenderbot"), special=INNER, scale=SCALE),
    "blenderbot-small": Architecture("BlenderbotSmall", _bart("BlenderbotSmall"), special=OUTER, scale=SCALE),
    "prophetnet": Architecture(
        "ProphetNet",
        _prophetnet,
        special="the base's logits hang on how many decoder tokens are run at once, with or without POD, so that "
        "generation and training do not agree",
        embedding="prophetnet.encoder.word_embeddings",
        lora=("query_proj", "value_proj"),
        length_of_output_is_free=False,
    ),
    "fsmt": Architecture(
        "FSMT",
        _bart(
            "FSMT",
            without=("vocab_size", "encoder_attention_heads"),
            src_vocab_size=VOCABULARY,
            tgt_vocab_size=TARGET_VOCABULARY,
            langs=["en", "de"],
        ),
        special=f"two vocabularies; the encoder scales whatever it is given: what POD adds is divided by that first; "
        f"{GUESSES}; without `input_ids` the base makes no causal mask, and decoder inputs never from labels: POD sees "
        "to both",
        scale=SCALE,
        input_scale=SCALE,
        positions="from tokens",
    ),
    "seamless-m4t": Architecture("SeamlessM4T", _seamless(""), **SEAMLESS),
    "seamless-m4t-v2": Architecture("SeamlessM4T v2", _seamless("v2"), **SEAMLESS),
    "encoder-decoder": Architecture(
        "EncoderDecoderModel (BERT and BERT)",
        _bert_pair,
        special="width and padding token are the encoder's, which need not be the decoder's; `decoder_start_token_id` "
        "and `pad_token_id` must be set on the pair's configuration; RoBERTa as the encoder counts positions over "
        "tokens, but over padding too where it is given embeddings: pad on the right",
        embedding="encoder.embeddings.word_embeddings",
        lora=("query", "value"),
        padding=3,
    ),
}


@functools.cache
def _cached_base(architecture: str, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ARCHITECTURES[architecture].make().eval()


def make_base(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A base of its own for each caller; the same seed gives the same weights."""
    return copy.deepcopy(_cached_base(architecture, seed))


CHECKED_WITH = "5.23"
"""The version of transformers that the docs speak of."""

HEAD = f"""\
# Architectures

Made by `python -m tests.tuner.architectures > docs/architectures.md` from the list that
`tests/tuner/test_architectures.py` runs over: the text-to-text architectures of transformers {CHECKED_WITH}, which are
all of `AutoModelForSeq2SeqLM` but those that read sound. None of them is refused.

From tiny bases with random weights, in float32, each row of the table was put through:

- **an oracle** in plain torch (rows of the embedding matrix times the scale in the table, plus whole-word vectors,
  behind the task's prompts; the base alone is run on that): logits and loss equal to 1e-5, with tasks mixed in a batch,
  with decoder inputs given and made from labels, without padding and with padding on either side, for a frozen base,
  LoRA and `train_base=True`;
- **generation**, equal to the oracle's token by token: greedy, beams with several return sequences, and under
  `prefix_allowed_tokens_fn`;
- **gradients**: prompts of the batch's tasks and whole-word vectors of its IDs have them, others do not; tables of
  sines stay frozen under `train_base=True`;
- **no whole words, `num_virtual_tokens=0`**: the base's own output on tokens, bit for bit, with padding on either side;
- **padding**: other tokens under the mask change nothing, nor does leaving the mask out;
- **the decoder** does not see what it is to write;
- **adapter off** and `unload()`: the untouched base, bit for bit, without a hook left on it;
- **save and load** to equal logits, under `train_base=True` onto a base with other weights.

| architecture | class | scale | what is special | inputs | LoRA on |
|---|---|---|---|---|---|
"""

TAIL = f"""
*Scale* is what the encoder multiplies the embedding matrix by; d is the model's width. mBART-50, NLLB (dense), ByT5,
Flan-T5, BARThez and BARTpho are weights and tokenizers for classes of the table. XLM-ProphetNet is no longer in
transformers {CHECKED_WITH}.

## Positions and left padding

Prompts come first and take the first k positions, so that a base with a table of positions (BART, LED, BERT and others)
has room for k tokens fewer. Pad on the right: then the padding of a batch does not change a row's output. With padding
on the left, which stands between prompts and tokens, positions hang on the architecture:

| positions | architectures | left padding |
|---|---|---|
POSITIONS

The long-input architectures fill inputs up to whole blocks or windows themselves, without attention. Which blocks of a
block-sparse BigBird-Pegasus all tokens see depends on the length of the batch, padding included, with POD as without.
In the mixtures of experts (SwitchTransformers, NLLB-MoE) padding may push tokens out of a full expert, as without POD.

## Decoder inputs

`forward` needs `labels`, `decoder_input_ids` or `decoder_inputs_embeds`, and says so where none is given. BART and its
relations, which otherwise take the encoder's tokens shifted by one, have no tokens to take.

## What is refused

At `get_peft_model`: models that read something else than `input_ids` (speech, images), that take no `inputs_embeds`,
that speak (`SeamlessM4TForTextToSpeech`), or that have no head to write text with (`T5Model`). Decoder-only models: see
[the method](method.md).
"""

LEFT_PADDING: dict[Positions, str] = {
    "relative": "prompts and tokens are farther apart, by the padding; tokens stand to each other as ever",
    "from the left": "the same, and tokens have later positions, as they have without POD",
    "from tokens": "makes no difference: padding is not counted. (These bases count by `input_ids`, which POD does not "
    "give them; it runs the encoder beforehand, with a hook for the time of that call that has the mask counted)",
}


def _table_row(name: str, architecture: Architecture) -> str:
    crosses = f": {architecture.crosses}" if architecture.crosses else ""
    cells = (
        architecture.title,
        f"`{type(_cached_base(name, 0)).__name__}`",
        "√d" if architecture.scale != 1 else "1",
        architecture.special or "–",
        f"{architecture.length} tokens, 3 prompts{crosses}",
        ", ".join(f"`{module}`" for module in architecture.lora),
    )
    return f"| {' | '.join(cells)} |"


def as_markdown() -> str:
    """docs/architectures.md."""
    titles = {
        kind: ", ".join(place.title for place in ARCHITECTURES.values() if place.positions == kind)
        for kind in LEFT_PADDING
    }
    positions = "\n".join(f"| {kind} | {titles[kind]} | {effect} |" for kind, effect in LEFT_PADDING.items())
    rows = "\n".join(_table_row(name, architecture) for name, architecture in ARCHITECTURES.items())
    return HEAD + rows + "\n" + TAIL.replace("POSITIONS", positions)


if __name__ == "__main__":
    print(as_markdown(), end="")
