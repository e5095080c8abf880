"""POD, prompt distillation for recommendation (CIKM 2023), as a PEFT method.

Importing this package registers POD with PEFT.
"""

from .registration import register_pod
from .tuner import PODConfig, PODModel, PromptDistillationConfig
from .version import __version__

register_pod()

__all__ = ["PODConfig", "PODModel", "PromptDistillationConfig", "__version__"]
