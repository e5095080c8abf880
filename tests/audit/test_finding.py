from __future__ import annotations

import json

import pytest

from peft_pod.audit import Audit, Finding

WORTH = {"HR@1": 0.5, "HR@10": 0.75, "NDCG@10": 0.625}
LESS = {"HR@1": 0.1, "HR@10": 0.2, "NDCG@10": 0.15}


def audit_of(*findings: Finding) -> Audit:
    return Audit("soap", "leave-one-out", "given", "0123456789ab", list(findings), checks={"negatives": "no lists"})


def test_only_leaks_leak() -> None:
    flaw, leak = Finding("twice", 1, WORTH, "d", "f", "flaw"), Finding("numbers", 1, WORTH, "d", "f")
    assert not audit_of().leaks
    assert not audit_of(flaw).leaks
    assert audit_of(flaw, leak).leaks


def test_the_note_names_all_leaks_and_the_figures_of_the_worst() -> None:
    flaw = Finding("twice", 1, WORTH, "d", "f", "flaw")
    assert audit_of(flaw).note() == "Audit 0123456789ab of corpus 'soap' with indexing 'given': no leak found."
    note = audit_of(Finding("first", 1, LESS, "d", "f"), Finding("second", 1, WORTH, "d", "f"), flaw).note()
    assert "IT LEAKS (first, second)" in note
    assert "(second) reaches HR@1 0.5000, HR@10 0.7500, NDCG@10 0.6250" in note


def test_json_has_the_metrics_beside_the_name() -> None:
    audit = audit_of(Finding("numbers", 3, WORTH, "They tell.", "Shuffle."))
    values = json.loads(json.dumps(audit.to_dict()))
    assert values["findings"] == [
        {"name": "numbers", "count": 3, **WORTH, "description": "They tell.", "fix": "Shuffle.", "severity": "leak"}
    ]
    assert (values["fingerprint"], values["leaks"]) == ("0123456789ab", True)


def test_printed() -> None:
    printed = str(audit_of(Finding("numbers", 1234, WORTH, "They tell.", "Shuffle.")))
    assert "LEAK numbers: 1,234 (HR@1 .5000, HR@10 .7500, NDCG@10 .6250)" in printed
    assert "Fix: Shuffle." in printed
    assert "not checked: negatives (no lists)" in printed


def test_a_finding_without_its_worth_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finding 'numbers' lacks the metrics \['NDCG@10'\]"):
        Finding("numbers", 1, {"HR@1": 0.0, "HR@10": 0.0}, "d", "f")
