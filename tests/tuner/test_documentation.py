"""The code in `docs/method.md` runs as it is written."""

from __future__ import annotations

import torch

from ..documentation import page, python_blocks

BLOCKS = python_blocks(page("method.md"))


def test_the_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "docs/method.md", "exec"), names)
    # 3 tasks of 10 vectors and 512 whole words, of width 32.
    assert capsys.readouterr().out.startswith(f"trainable params: {(3 * 10 + 512) * 32:,d} ||")
    assert names["tokens"] == [[11, 12, 13], [21, 22], [31]]
    assert len(names["texts"]) == 3
    model, loaded = names["model"], names["loaded"]
    assert list(model.peft_config) == ["default", "both"]
    assert model.peft_config["both"].tasks[-1] == "rating"
    assert loaded.peft_config["default"].tasks == ["sequential", "topn", "explanation"]
    trained = loaded.base_model.prompts.task_prompts("default")
    for key, prompts in model.base_model.prompts.task_prompts("default").items():
        assert key == "task_rating" or torch.equal(prompts, trained[key])
    assert {path.name for path in tmp_path.iterdir()} == {"my-adapter"}
