from __future__ import annotations

import enum
import subprocess
import sys

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from peft_pod import PODConfig, PODModel
from peft_pod.enums import add_enum_member
from peft_pod.registration import register_pod


def test_pod_is_a_member_like_any_other():
    member = PeftType("POD")
    assert PeftType["POD"] is PeftType.POD is member
    assert member in PeftType
    assert "POD" in list(PeftType)
    assert member.name == member.value == "POD"
    assert isinstance(member, PeftType)
    assert PEFT_TYPE_TO_CONFIG_MAPPING[member] is PODConfig
    assert PEFT_TYPE_TO_TUNER_MAPPING["POD"] is PODModel


def test_registering_again_changes_nothing():
    members = list(PeftType)
    register_pod()
    assert list(PeftType) == members


def test_one_import_is_enough():
    script = (
        "from peft_pod import PODConfig\n"
        "from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING\n"
        "print(PEFT_TYPE_TO_TUNER_MAPPING[PODConfig(num_tasks=1).peft_type].__name__)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "PODModel"


def test_enum_refuses_clashes():
    class Colour(str, enum.Enum):
        RED = "RED"

    assert add_enum_member(Colour, "RED", "RED") is Colour.RED
    with pytest.raises(ValueError, match="already has"):
        add_enum_member(Colour, "RED", "rouge")
    with pytest.raises(ValueError, match="already has"):
        add_enum_member(Colour, "ROUGE", "RED")

    class Number(enum.Enum):
        ONE = 1

    with pytest.raises(TypeError, match="not an enumeration of strings"):
        add_enum_member(Number, "TWO", "2")
