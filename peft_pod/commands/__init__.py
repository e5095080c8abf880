"""The console script `peft-pod`."""

from .main import main

__all__ = ["main"]
