from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

from benchmarks import quality

MODULES = [module.name for module in pkgutil.iter_modules(quality.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(import_module(f"{quality.__name__}.{name}")).failed == 0
