"""The files in examples/accelerate_configs, read by Accelerate itself."""

from __future__ import annotations

import re

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from ..training.fsdp_on_cpu import ENVIRONMENT
from ..training.launching import ROOT

CONFIGS = ROOT / "examples" / "accelerate_configs"
EXPECTED = {
    "cpu_2_processes": (DistributedType.MULTI_GPU, 1, 2),
    "ddp": (DistributedType.MULTI_GPU, 1, 4),
    "deepspeed_zero2": (DistributedType.DEEPSPEED, 1, 4),
    "deepspeed_zero3": (DistributedType.DEEPSPEED, 1, 4),
    "fsdp2": (DistributedType.FSDP, 1, 4),
    "multi_node": (DistributedType.MULTI_GPU, 2, 8),
}
every_config = pytest.mark.parametrize("name", list(EXPECTED))


def path(name):
    return CONFIGS / f"{name}.yaml"


def launched(name):
    """The arguments of `accelerate launch` once the file has filled them in, as it does before it starts anything."""
    command = ["--config_file", str(path(name)), "-m", "peft_pod", "train"]
    arguments, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    return arguments


def test_all_files_are_named_here():
    assert {file.stem for file in CONFIGS.glob("*.yaml")} == EXPECTED.keys()


@every_config
def test_accelerate_reads_it(name):
    config = load_config_from_file(str(path(name)))
    assert (config.distributed_type, config.num_machines, config.num_processes) == EXPECTED[name]
    assert config.mixed_precision == "no"
    # `accelerate launch` passes over a key that it does not know without a word.
    known = vars(launch_command_parser().parse_args(["script.py"]))
    assert {*config.fsdp_config, *config.deepspeed_config} <= known.keys()


@every_config
def test_it_says_what_it_is_for_and_whether_it_was_tried(name):
    comment = path(name).read_text(encoding="utf-8").split("compute_environment")[0]
    assert f"accelerate launch --config_file examples/accelerate_configs/{name}.yaml" in comment
    assert re.search("(Tried|Not tried)", comment)


def test_fsdp2_sets_what_the_tests_of_sharding_run_with():
    environment = prepare_multi_gpu_env(launched("fsdp2"))
    assert {variable: environment.get(variable) for variable in ENVIRONMENT} == ENVIRONMENT


@pytest.mark.parametrize("stage", ["2", "3"])
def test_deepspeed_sets_its_stage(stage):
    _, environment = prepare_deepspeed_cmd_env(launched(f"deepspeed_zero{stage}"))
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == stage
    if stage == "3":
        assert environment["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"] == "true"
