"""Libraries that take seconds and hundreds of megabytes to import, imported when something of them is first used: `from ftheta.core.late import torch`.

For modules that processes import which may never compute with tensors, such as those that read and clean documents.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Late(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    import torch
else:
    torch = Late("torch")
