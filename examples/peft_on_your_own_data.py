"""The bare PEFT use: prompts for two tasks of your own on any seq2seq model, without the rest of the library.

    python examples/peft_on_your_own_data.py

A tiny T5 with random weights stands in for `AutoModelForSeq2SeqLM.from_pretrained("google-t5/t5-small")`, so that the
example runs without network. The data are made up: task "next" continues a count, task "back" goes the other way, and
the input alone does not say which: only the prompts tell the tasks apart.
"""

import tempfile

import torch
from peft import PeftModel, get_peft_model
from transformers import T5Config, T5ForConditionalGeneration, set_seed

from peft_pod import PODConfig

PAD, EOS, FIRST_NUMBER = 0, 1, 2


def make_base() -> T5ForConditionalGeneration:
    """A tiny T5 with random weights; the same at every call."""
    set_seed(0)
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=40, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=PAD,
            pad_token_id=PAD, eos_token_id=EOS, dropout_rate=0.0,
        )
    )  # fmt: skip


def make_batch(generator: torch.Generator, size: int = 64) -> dict[str, torch.Tensor]:
    """Three numbers that count up; the answer is the one after them ("next") or the one before ("back")."""
    start = torch.randint(1, 30, (size, 1), generator=generator)
    numbers = start + torch.arange(3)
    task_id = torch.randint(2, (size,), generator=generator)
    answer = torch.where(task_id == 0, numbers[:, -1] + 1, numbers[:, 0] - 1)
    return {
        "input_ids": numbers + FIRST_NUMBER,
        "attention_mask": torch.ones_like(numbers),
        # The tokens of the n-th ID of the input have the whole-word ID n; here every ID is one token.
        "whole_word_ids": torch.arange(1, 4).expand(size, -1),
        "task_id": task_id,
        "labels": torch.stack([answer + FIRST_NUMBER, torch.full_like(answer, EOS)], dim=1),
    }


def main() -> None:
    """Train, save, load, and generate."""
    # train_base=True trains the base too, as the paper does; leave it out to train prompts alone on a pretrained base,
    # or set r=8 for LoRA.
    config = PODConfig(tasks=["next", "back"], num_virtual_tokens=5, max_whole_words=8, train_base=True)
    model = get_peft_model(make_base(), config)
    model.print_trainable_parameters()

    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for step in range(301):
        loss = model(**make_batch(generator)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = PeftModel.from_pretrained(make_base(), folder)

    question = torch.tensor([[10, 11, 12]]) + FIRST_NUMBER
    inputs = {"input_ids": question, "whole_word_ids": torch.tensor([[1, 2, 3]])}
    for task in ("next", "back"):
        tokens = loaded.generate(**inputs, task_id=task, max_new_tokens=2)
        print(f"10 11 12, task {task!r}: {tokens[0, 1].item() - FIRST_NUMBER}")


if __name__ == "__main__":
    main()
