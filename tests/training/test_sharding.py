from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from peft_pod.generation import Recommender
from peft_pod.training.sharding import check_sharding, shards_weights

from .fsdp_on_cpu import ADAPTERS
from .in_processes import agree, make_trainer, seen_by
from .launching import run_in_processes

CASES = {"full": 1, "lora": 2}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """What two processes saw that trained by FSDP2, for each kind of adapter."""
    folder = tmp_path_factory.mktemp("sharded")
    run_in_processes("tests.training.fsdp_on_cpu", [str(folder), json.dumps(CASES)])
    return folder


@pytest.mark.parametrize("adapter", list(CASES))
def test_fsdp2_trains_as_one_process_with_the_doubled_batch(sharded, tmp_path, adapter):
    seen = json.loads((sharded / adapter / "seen.json").read_text(encoding="utf-8"))
    alone = make_trainer(tmp_path, 8, accumulated=CASES[adapter], pod=ADAPTERS[adapter])
    alone.train()
    one = seen_by(alone)
    assert seen["undisturbed"]["processes"] == 2
    assert seen["undisturbed"]["tasks"] == one["tasks"]
    # All weights are dealt out: prompts, whole-word embeddings, LoRA and the base, frozen or not.
    assert len(seen["sharded"]) == seen["weights"] == len(list(alone.model.parameters()))
    assert len(one["losses"]) == 9
    for expected, found in zip(one["losses"], seen["undisturbed"]["losses"], strict=True):
        assert agree(found, expected), (found, expected)
    weights = torch.load(sharded / adapter / "weights.pt", weights_only=True)
    for name, expected in alone.model.state_dict().items():
        torch.testing.assert_close(weights[name], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("adapter", list(CASES))
def test_fsdp2_goes_on_from_a_checkpoint_exactly(sharded, adapter):
    seen = json.loads((sharded / adapter / "seen.json").read_text(encoding="utf-8"))
    # The log of a resumed run begins with that of the checkpoint; the time it took is not in it.
    before, after = (
        [entry for entry in seen[name]["losses"] if "train_loss" not in entry] for name in ("undisturbed", "resumed")
    )
    assert after == before
    assert seen["resumed"]["tasks"] == seen["undisturbed"]["tasks"][3 * CASES[adapter] :]
    assert {"adapter_model.safetensors", "optimizer.bin", "pytorch_model_fsdp.bin"} <= set(seen["saved"])


@pytest.mark.parametrize("adapter", list(CASES))
def test_the_model_of_fsdp2_is_whole_when_it_is_saved(sharded, adapter):
    weights = torch.load(sharded / adapter / "weights.pt", weights_only=True)
    recommender = Recommender.from_pretrained(sharded / adapter / "model")
    loaded = recommender.model.state_dict()
    assert loaded.keys() == weights.keys()
    for name, expected in weights.items():
        assert torch.equal(loaded[name], expected), name
    assert len(recommender.recommend(recommender.catalogue.user_ids[0], k=5)) == 5


def accelerator(kind, **plugin):
    state = SimpleNamespace(fsdp_plugin=SimpleNamespace(**plugin), deepspeed_plugin=SimpleNamespace(**plugin))
    return SimpleNamespace(distributed_type=kind, state=state)


def test_which_kinds_share_out_weights():
    assert shards_weights(accelerator(DistributedType.FSDP))
    assert shards_weights(accelerator(DistributedType.DEEPSPEED, zero_stage=3))
    assert not shards_weights(accelerator(DistributedType.DEEPSPEED, zero_stage=2))
    assert not shards_weights(accelerator(DistributedType.MULTI_GPU))


def test_kinds_of_fsdp_that_do_not_work():
    check_sharding(accelerator(DistributedType.MULTI_CPU))
    check_sharding(accelerator(DistributedType.FSDP, fsdp_version=2, state_dict_type="FULL_STATE_DICT"))
    with pytest.raises(ValueError, match="fsdp_version is 1: .* set fsdp_version: 2"):
        check_sharding(accelerator(DistributedType.FSDP, fsdp_version=1, state_dict_type="FULL_STATE_DICT"))
    with pytest.raises(ValueError, match="is SHARDED_STATE_DICT: .* set fsdp_state_dict_type: FULL_STATE_DICT"):
        check_sharding(accelerator(DistributedType.FSDP, fsdp_version=2, state_dict_type="SHARDED_STATE_DICT"))
