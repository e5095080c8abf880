"""A fourth task for a trained model: its prompts are trained alone, and the other three tasks answer as before.

    python examples/fourth_task.py

A tiny T5 with random weights stands in for a pretrained one, so that the example runs without network. It is first
trained whole (`train_base=True`, as in the paper) for three tasks on numbers: "next", "back" and "first". Then the base
is frozen and the adapter gets a fourth task, "last", which is none of them: only its ten prompt vectors say what to do.
"""

import tempfile
from collections.abc import Callable

import torch
from peft import PeftModel, get_peft_model
from transformers import T5Config, T5ForConditionalGeneration, set_seed

from peft_pod import PODConfig

PAD, EOS, FIRST_NUMBER = 0, 1, 2
ANSWERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "next": lambda numbers: numbers[:, -1] + 1,
    "back": lambda numbers: numbers[:, 0] - 1,
    "first": lambda numbers: numbers[:, 0],
    "last": lambda numbers: numbers[:, -1],
}
QUESTION = torch.tensor([[10, 11, 12]]) + FIRST_NUMBER


def make_base() -> T5ForConditionalGeneration:
    """A tiny T5 with random weights; the same at every call."""
    set_seed(0)
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=40, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=PAD,
            pad_token_id=PAD, eos_token_id=EOS, dropout_rate=0.0,
        )
    )  # fmt: skip


def train(model: PeftModel, tasks: list[str], steps: int, learning_rate: float) -> None:
    """Train on batches of made-up questions, each of one of the tasks."""
    generator = torch.Generator().manual_seed(0)
    # Only now, when it is known what is trained: an optimiser does not see parameters that come later.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01)
    for step in range(steps):
        task = tasks[step % len(tasks)]
        numbers = torch.randint(1, 30, (64, 1), generator=generator) + torch.arange(3)
        labels = torch.stack([ANSWERS[task](numbers) + FIRST_NUMBER, torch.full((64,), EOS)], dim=1)
        loss = model(input_ids=numbers + FIRST_NUMBER, labels=labels, task_id=task).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}")


def answer(model: PeftModel, task: str) -> int:
    """What the model says of 10 11 12."""
    return int(model.generate(input_ids=QUESTION, task_id=task, max_new_tokens=2)[0, 1]) - FIRST_NUMBER


def main() -> None:
    """Train three tasks, add a fourth, train its prompts, save, load, and ask."""
    config = PODConfig(tasks=["next", "back", "first"], whole_word_embedding=False, train_base=True)
    model = get_peft_model(make_base(), config)
    print("three tasks, the base with them")
    train(model, ["next", "back", "first"], steps=241, learning_rate=2e-3)
    before = {task: answer(model, task) for task in ("next", "back", "first")}

    print("a fourth task, its prompts alone")
    model.add_task("last", init="next")  # start from the prompts of the task most like it
    model.set_train_tasks(["last"])
    model.print_trainable_parameters()
    train(model, ["last"], steps=201, learning_rate=5e-2)

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = PeftModel.from_pretrained(make_base(), folder)
    for task in loaded.peft_config["default"].tasks:
        print(
            f"10 11 12, task {task!r}: {answer(loaded, task)}"
            + (f" (before: {before[task]})" if task in before else "")
        )


if __name__ == "__main__":
    main()
