"""The plain training step that `benchmarks.training` measures against, as the original research code takes it.

Float32, eager attention, the text of every batch tokenised on the spot and padded to its longest sample, one prompt
table and one whole-word table in front of a T5, AdamW parameter by parameter. One thing is not as in the original, so
that the losses can be compared: padding does not count in the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from transformers import T5ForConditionalGeneration

from peft_pod.processing import TaskAlternatingBatchSampler
from peft_pod.processing.collator import IGNORED_LABEL
from peft_pod.tasks import Sample
from peft_pod.tuner import PODModel

from .training_setup import LEARNING_RATE, Material


class PlainModel(torch.nn.Module):
    """A T5 with continuous prompts per task and whole-word embeddings, trained whole; starts from our weights."""

    def __init__(self, material: Material) -> None:
        super().__init__()
        base = material.model.get_base_model()
        self.t5 = T5ForConditionalGeneration._from_config(base.config, attn_implementation="eager")
        self.t5.load_state_dict(base.state_dict())
        prompts = cast(PODModel, material.model.base_model).prompts
        self.prompts = torch.nn.Parameter(prompts.prompt_table("default").detach().clone())
        words = prompts.pod_whole_words["default"].detach()
        self.whole_words = torch.nn.Embedding.from_pretrained(
            torch.nn.functional.pad(words, (0, 0, 1, 0)).clone(), freeze=False, padding_idx=0
        )

    def forward(self, batch: dict[str, torch.Tensor], task: int) -> torch.Tensor:
        """The loss of a batch of one task."""
        tokens = self.t5.shared(batch["input_ids"]) + self.whole_words(batch["whole_word_ids"])
        prompts = self.prompts[task].expand(len(tokens), -1, -1)
        mask = torch.cat([batch["attention_mask"].new_ones(prompts.shape[:2]), batch["attention_mask"]], dim=1)
        inputs = torch.cat([prompts, tokens], dim=1)
        loss: torch.Tensor = self.t5(inputs_embeds=inputs, attention_mask=mask, labels=batch["labels"]).loss
        return loss


class PlainTraining:
    """Takes one step after the other.

    Args:
        material: the model's weights are the start; its samples are trained on, in shuffled batches.
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        indexing = material.processor.indexing
        self.names = {*indexing.item_words, *indexing.user_words}
        self.device = material.setting.device
        self.model = PlainModel(material).to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, foreach=False, fused=False
        )

    def steps(self) -> Iterator[tuple[str, float, dict[str, torch.Tensor]]]:
        """Yields the task, the loss and the batch of each step."""
        setting, processor = self.material.setting, self.material.processor
        sampler = TaskAlternatingBatchSampler(self.material.samples.sizes, setting.batch_size, seed=setting.seed)
        epoch = 0
        while True:
            sampler.set_epoch(epoch)
            for keys in sampler:
                batch = self.encode([self.material.samples.sample(key) for key in keys])
                loss = self.model(batch, keys[0].task)
                self.optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
                yield processor.task_names[keys[0].task], loss.item(), batch
            epoch += 1

    def encode(self, samples: list[Sample]) -> dict[str, torch.Tensor]:
        """Tokenise the texts of a batch, pad them, and number the IDs in them."""
        processor, tokenizer = self.material.processor, self.material.processor.tokenizer
        encoded: Any = tokenizer([processor.text(sample) for sample in samples], padding=True, return_tensors="pt")
        answers = [self._answer(sample) for sample in samples]
        labels = tokenizer(answers, padding=True, return_tensors="pt")
        inputs, mask = encoded["input_ids"], encoded["attention_mask"]
        words = torch.zeros_like(inputs)
        for row, sample in enumerate(samples):
            self._number(tokenizer.convert_ids_to_tokens(inputs[row]), sample, words[row])
        batch = {
            "input_ids": inputs,
            "attention_mask": mask,
            "whole_word_ids": words,
            "labels": labels["input_ids"].masked_fill(labels["attention_mask"] == 0, IGNORED_LABEL),
        }
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _answer(self, sample: Sample) -> str:
        if sample.target_item is not None:
            return self.material.processor.indexing.item_word(sample.target_item)
        return sample.target_text or ""

    def _number(self, tokens: list[str], sample: Sample, numbers: torch.Tensor) -> None:
        """All tokens of the n-th ID of an input get n: a word begins where a token begins with a space."""
        words = self.material.processor.text(sample).split()
        place, count = -1, 0
        for position, token in enumerate(tokens):
            if token == self.material.processor.tokenizer.eos_token:
                break
            if token.startswith("▁"):
                place += 1
                count += words[place] in self.names
            if words[place] in self.names:
                numbers[position] = count
