"""Makes POD known to PEFT. The only file that touches PEFT's registry.

Importing `peft_pod` runs `register_pod`; after that `get_peft_model`, `PeftModel.from_pretrained`,
`AutoPeftModelForSeq2SeqLM.from_pretrained` and `PeftConfig.from_pretrained` work with POD adapters.
"""

from __future__ import annotations

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType, register_peft_method

from .enums import add_enum_member
from .tuner import PODConfig, PODModel

POD = "POD"


def register_pod() -> None:
    """Register POD as a PEFT method; calling it again does nothing.

    Raises:
        ValueError: another package registered a method of the same name.
    """
    peft_type = add_enum_member(PeftType, POD, POD)
    registered = PEFT_TYPE_TO_TUNER_MAPPING.get(peft_type)
    if registered is PODModel:
        return
    if registered is not None:
        raise ValueError(f"the PEFT method {POD!r} is already registered by {registered.__module__}")
    register_peft_method(name=POD.lower(), config_cls=PODConfig, model_cls=PODModel, prefix=PODModel.prefix)
