"""Settings of generation that a base's own do not add to."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig


class OwnSettings(GenerationConfig):
    """Generation settings that stay as they were given: `generate` fills unset ones from the model's own otherwise.

    So a base that was published with, say, a minimum length or a ban on repeated words writes what its adapter learned.
    """

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Take settings over, but not those of the model."""
        # Custom entries are allowed only where the model's own settings come in.
        if allow_custom_entries:
            return kwargs
        return super().update(defaults_only=defaults_only, **kwargs)
