"""Micrographia: a microscope for language models.

    import micrographia as mg
    scope = mg.open()

Importing this package loads nothing heavy; names are fetched when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micrographia.atlas.atlas import Atlas
    from micrographia.errors import MicrographiaError
    from micrographia.microscope import Microscope, open
    from micrographia.model.edits import At, Edit, at
    from micrographia.model.generate import Sampling
    from micrographia.model.model import Model
    from micrographia.model.run import Run
    from micrographia.model.site import Point, Site
    from micrographia.model.tokens import Prompt
    from micrographia.report.page import page

__all__ = [
    "At",
    "Atlas",
    "Edit",
    "MicrographiaError",
    "Microscope",
    "Model",
    "Point",
    "Prompt",
    "Run",
    "Sampling",
    "Site",
    "at",
    "open",
    "page",
]

_HOME = {
    "At": "model.edits",
    "Atlas": "atlas.atlas",
    "Edit": "model.edits",
    "MicrographiaError": "errors",
    "Microscope": "microscope",
    "Model": "model.model",
    "Point": "model.site",
    "Prompt": "model.tokens",
    "Run": "model.run",
    "Sampling": "model.generate",
    "Site": "model.site",
    "at": "model.edits",
    "open": "microscope",
    "page": "report.page",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'micrographia' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(f"micrographia.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
