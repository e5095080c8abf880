"""Training in several processes: the same script as in one, started by `accelerate launch`.

    accelerate launch --config_file examples/accelerate_configs/cpu_2_processes.yaml examples/multi_process.py

All processes have the same task at a step, and together they see the batch that one process of their summed batch size
would see; the losses are the same too. With GPUs, take another file of that folder. Where a script of your own is not
needed, `accelerate launch -m peft_pod train ...` does the same.
"""

import argparse

from peft_pod.commands.arguments import CorpusArguments, ModelArguments
from peft_pod.commands.train import train
from peft_pod.training import PODTrainingArguments, process_state


def main() -> None:
    """Train on the embedded corpus in as many processes as were started."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-dir", default="runs/multi_process")
    parser.add_argument("--num-users", type=int, default=200)
    parser.add_argument("--max-steps", type=int, default=30)
    options = parser.parse_args()
    state = process_state()
    state.print(f"{state.num_processes} processes")
    train(
        CorpusArguments(
            corpus_options=[f"num_users={options.num_users}"],
            tasks=["sequential", "explanation"],
            evaluation_limit=50,
            overwrite=True,
        ),
        ModelArguments(base_model="scratch:tiny", item_beams=10),
        PODTrainingArguments(
            output_dir=options.output_dir,
            max_steps=options.max_steps,
            per_device_train_batch_size=32 // state.num_processes,
            learning_rate=2e-3,
        ),
    )


if __name__ == "__main__":
    main()
