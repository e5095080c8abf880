"""The full recommender in Python: corpus, item IDs, tasks, training, evaluation, recommendations.

    python examples/full_recommender.py [--output-dir runs/example] [--epochs 1]

What `peft-pod train` does, step by step, on the embedded corpus and without network.
"""

import argparse

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import Recommender
from peft_pod.indexing import load_indexing
from peft_pod.metrics import Report, evaluate_baselines, evaluate_model, format_table
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-dir", default="runs/example")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--num-users", type=int, default=300)
    options = parser.parse_args()
    base = "scratch:tiny"  # or "google-t5/t5-small", or a folder

    # Who took what, split by leave-one-out. Whatever is fitted below sees `split.train` alone.
    corpus = load_corpus("embedded", num_users=options.num_users)
    split = corpus.split()

    # Items and users get words as IDs; tasks turn interactions into questions and answers.
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [load_task("sequential", segments="prefixes", bare_probability=0.5), load_task("explanation")]
    processor = PODProcessor(build_tokenizer(base, split.train, indexing, tasks), indexing, tasks)

    # With random weights, items start from who took them together; leave `item_start` out for a pretrained base.
    model = build_model(
        base, processor, train=split.train, item_start="collaborative", num_virtual_tokens=10, train_base=True
    )
    arguments = PODTrainingArguments(
        output_dir=f"{options.output_dir}/checkpoints", num_train_epochs=options.epochs, learning_rate=2e-3
    )
    trainer = PODTrainer(
        model,
        arguments,
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
        eval_dataset=EvaluationSamples.of_part(split, "validation", processor),
    )
    trainer.train()

    recommender = Recommender(model, processor, Catalogue.from_split(split))
    report = Report(
        corpus={"name": corpus.name, "fingerprint": corpus.fingerprint},
        part="test",
        tasks=evaluate_model(recommender.engine, split, limit=200),
        baselines=evaluate_baselines(tasks, split, limit=200),
    )
    print(format_table(report))

    # Saved, loaded, and asked in the corpus' own IDs. `recommender.model.push_to_hub` and `hf upload` take this folder.
    recommender.save_pretrained(f"{options.output_dir}/model")
    recommender = Recommender.from_pretrained(f"{options.output_dir}/model")
    user = corpus.interactions[0]["user_id"]
    best = recommender.recommend(user, k=5)
    for item in best:
        print(f"{item.title}  [{item.item_id}]  {item.score:.2f}")
    print(recommender.explain(user, best[0].item_id))


if __name__ == "__main__":
    main()
