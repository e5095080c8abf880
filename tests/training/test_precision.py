import torch

from peft_pod.training import precision


def test_bf16_speedup_is_the_ratio_of_median_times(monkeypatch):
    clock = {"now": 0.0}
    cost = {torch.float32: 3.0, torch.bfloat16: 2.0}
    calls = []

    def product(rows, weight):
        calls.append((rows.dtype, rows.shape[1], weight.shape))
        # The first round is thrown away, and a single slow product does not count.
        clock["now"] += cost[rows.dtype] * (100 if len(calls) in (1, 2, 5) else 1)

    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(torch.nn.functional, "linear", product)
    assert precision.bf16_speedup(4, 8) == 1.5
    assert calls[0] == (torch.float32, 4, (8, 4))
    assert [kind for kind, *_ in calls[:4]] == [torch.float32, torch.bfloat16] * 2
