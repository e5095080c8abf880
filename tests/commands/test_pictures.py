from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from peft_pod.commands import pictures
from peft_pod.commands.data import split_of_run
from peft_pod.commands.run_folder import RunFolder
from peft_pod.corpus import Corpus
from peft_pod.generation import Recommender
from peft_pod.generation.prompt_attention import AttentionUnreadableError
from peft_pod.metrics import Report
from peft_pod.processing.samples import limited

from .runs import call, read

PICTURES = ["attention.png", "hit_rates.png", "pictures.json", "prompts.png"]


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    folder = shutil.copytree(
        run[0], tmp_path_factory.mktemp("pictures") / "run", ignore=shutil.ignore_patterns("checkpoints")
    )
    assert call("evaluate", "--run", folder).status == 0
    return folder


@pytest.fixture(scope="module")
def numbers(evaluated):
    done = call("pictures", "--run", evaluated, "--json", "--questions", 9)
    assert done.status == 0, done.err
    written = read(evaluated / "pictures" / "pictures.json")
    assert json.loads(done.out) == written
    return written


def test_files(evaluated, numbers):
    assert sorted(path.name for path in (evaluated / "pictures").iterdir()) == PICTURES
    for name in PICTURES:
        if name.endswith("png"):
            assert (evaluated / "pictures" / name).read_bytes().startswith(b"\x89PNG")
    assert numbers["part"] == "test"
    assert any("no leak found" in note for note in numbers["notes"])


def test_hit_rates_add_up_to_those_of_the_report(evaluated, numbers):
    report = Report.load(evaluated / "report.json")
    assert list(numbers["hit_rates"]) == ["sequential", "topn"]
    for task, found in numbers["hit_rates"].items():
        for groups in (found["by_popularity"], found["by_history"]):
            assert sum(group["users"] for group in groups) == 40
            for system, result in {"model": report.tasks[task], **report.baselines[task]}.items():
                hits = sum(group["systems"][system]["hits"] for group in groups)
                assert hits / 40 == pytest.approx(result.metrics["hr@10"])


def test_nearest_tokens_are_those_of_the_saved_model(evaluated, numbers):
    """From the weights in the files, one vector at a time."""
    recommender = Recommender.from_pretrained(evaluated / "model")
    model = recommender.model
    table = model.get_base_model().get_input_embeddings().weight.detach().numpy().astype(float)
    table = table[: len(recommender.processor.tokenizer)]
    lengths = np.maximum(np.linalg.norm(table, axis=1), 1e-12)
    prompts = model.base_model.prompts.prompt_table("default").detach().numpy().astype(float)
    items = {tokens: item for item, tokens in enumerate(recommender.processor.item_tokens())}
    for task, vectors in zip(numbers["prompts"]["tasks"].values(), prompts, strict=True):
        for found, vector in zip(task, vectors, strict=True):
            cosines = table @ vector / lengths / np.linalg.norm(vector)
            assert [one["token"] for one in found["nearest"]] == np.argsort(-cosines)[:5].tolist()
            for one in found["nearest"]:
                assert one["cosine"] == pytest.approx(cosines[one["token"]], abs=1e-5)
                if (one["token"],) in items:
                    assert one["name"] == f"“{recommender.catalogue.titles[items[(one['token'],)]]}”"


def test_attention_is_that_of_single_questions(evaluated, numbers):
    """Without padding or batches, the weights that the model itself gives."""
    recommender = Recommender.from_pretrained(evaluated / "model")
    model, processor = recommender.model, recommender.processor
    model.get_base_model().set_attn_implementation("eager")
    found = numbers["attention"]["sequential"]
    assert found["questions"] == 9

    folder = RunFolder(evaluated)
    split = split_of_run(Corpus.load_from_disk(folder.corpus), folder.corpus_arguments())
    samples = limited(processor.task("sequential").evaluation_samples(split, "test", 42), 9, 42)
    encoder, decoder, uniform = [], [], []
    for sample in samples:
        batch = {name: torch.tensor([value]) for name, value in processor(sample, "sequential").items()}
        with torch.inference_mode():
            outputs = model(**batch, output_attentions=True)
        k = 10
        uniform.append(k / (k + batch["input_ids"].shape[1]))
        encoder.append([layer[0, :, k:, :k].sum(-1).mean().item() for layer in outputs.encoder_attentions])
        decoder.append([layer[0, :, :, :k].sum(-1).mean().item() for layer in outputs.cross_attentions])
    assert found["encoder_from_tokens"]["layers"] == pytest.approx(np.mean(encoder, axis=0).tolist(), abs=1e-5)
    assert found["decoder"]["layers"] == pytest.approx(np.mean(decoder, axis=0).tolist(), abs=1e-5)
    assert found["uniform"] == pytest.approx(np.mean(uniform))


def test_another_folder_and_the_table(evaluated, tmp_path):
    done = call(
        "pictures", "--run", evaluated, "--output", tmp_path / "out", "--questions", 2, "--k", 5, "--nearest", 1
    )
    assert done.status == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == PICTURES
    assert read(tmp_path / "out" / "pictures.json")["hit_rates"]["topn"]["k"] == 5
    assert "sequential: tokens nearest to each prompt vector, with cosines; a random direction has 0." in done.out
    assert str(tmp_path / "out" / "prompts.png") in done.out


def test_a_report_by_its_file(evaluated, tmp_path):
    """The pictures lie beside those of other reports, with the hit rates of the one that was named."""
    folder = shutil.copytree(evaluated, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "pictures"))
    assert call("evaluate", "--run", folder, "--count_weight", 0.9).status == 0
    done = call("pictures", "--run", folder / "report-counts-0.9.json", "--questions", 1)
    assert done.status == 0, done.err
    hit_rates = read(folder / "pictures-counts-0.9" / "pictures.json")["hit_rates"]["sequential"]["by_popularity"]
    hits = sum(group["users"] * group["systems"]["model"]["hit_rate"] for group in hit_rates)
    report = read(folder / "report-counts-0.9.json")["tasks"]["sequential"]
    assert hits / report["protocol"]["num_users"] == pytest.approx(report["metrics"]["hr@10"])
    assert not (folder / "pictures").exists()


def test_a_report_that_has_lost_its_ranks(evaluated, tmp_path):
    folder = shutil.copytree(evaluated, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "pictures"))
    (folder / "ranks.parquet").unlink()
    done = call("pictures", "--run", folder, "--questions", 1)
    assert done.status == 2
    assert f"--run {folder} has no ranks.parquet, from which hit rates are drawn: run `peft-pod evaluate" in done.err
    assert not (folder / "pictures").exists()


def test_where_attention_cannot_be_read(evaluated, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AttentionUnreadableError("a base of type 'led' gives local attention")

    monkeypatch.setattr(pictures, "prompt_attention", refuse)
    (tmp_path / "attention.png").write_bytes(b"of another model")
    done = call("pictures", "--run", evaluated, "--output", tmp_path)
    assert done.status == 0, done.err
    assert "There is no picture of attention: a base of type 'led' gives local attention." in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == PICTURES[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "validation"], "has no report-validation.json: run `peft-pod evaluate --run"),
        (["--k", "11"], "k is 11, and the report of the task 'sequential' knows ranks from 1 to 10"),
        (["--questions", "0"], "--questions must be at least 1"),
        (["--nearest", "0"], "--nearest must be at least 1"),
    ],
)
def test_bad_arguments(evaluated, tmp_path, arguments, message):
    done = call("pictures", "--run", evaluated, "--output", tmp_path / "out", *arguments)
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()
