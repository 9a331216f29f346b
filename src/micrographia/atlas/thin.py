"""A smaller atlas out of a larger one: fewer places, fewer tokens around them, fewer promoted ones.

What is kept of a feature lies in order, so that a smaller atlas is the beginning of a larger one, byte for byte what
reading the text again with smaller choices would give.
"""

from pathlib import Path

import numpy as np

from micrographia import store
from micrographia.atlas.atlas import Atlas, LayerAtlas
from micrographia.atlas.build import layer_file
from micrographia.atlas.files import write_arrays
from micrographia.atlas.plan import AtlasConfig, AtlasManifest
from micrographia.atlas.text import FILE
from micrographia.bases.formats.writing import new_folder
from micrographia.errors import CallError

__all__ = ["thin"]

_SMALLER = ("strongest", "sample", "before", "after", "promoted")


def thin(atlas: Atlas, folder: Path, config: AtlasConfig) -> AtlasManifest:
    """Write what smaller choices would have kept."""
    plan = atlas.manifest.plan
    ours, theirs = config.model_dump(), plan.config.model_dump()
    wrong = [key for key in ours if (ours[key] > theirs[key] if key in _SMALLER else ours[key] != theirs[key])]
    if wrong:
        raise CallError(
            f"{atlas.folder} can only be made smaller, in {', '.join(_SMALLER)}; this asks for "
            f"{', '.join(f'{key} {theirs[key]} → {ours[key]}' for key in wrong)}."
        )
    with new_folder(folder) as partial:
        atlas.text.write(partial)
        for layer in atlas.layers:
            write_arrays(partial / layer_file(layer), _thinned(atlas.layer(layer), config))
        names = [FILE, *map(layer_file, atlas.layers)]
        files = tuple(store.record_file(partial / name) for name in names)
        smaller = plan.model_copy(update={"config": config})
        manifest = atlas.manifest.model_copy(update={"plan": smaller, "files": files})
        store.write_json(partial / store.MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _thinned(its: LayerAtlas, config: AtlasConfig) -> dict[str, np.ndarray]:
    found = dict(its.arrays)
    first = its.before - config.before
    for order, n in (("strongest", config.strongest), ("random", config.sample)):
        for name in ("code", "place", "near"):
            found[f"{order}.{name}"] = found[f"{order}.{name}"][:, :n]
        found[f"{order}.near"] = found[f"{order}.near"][:, :, first : first + len(config.span)]
    for side in ("promoted", "suppressed"):
        for name in ("token", "cosine", "logit"):
            found[f"{side}.{name}"] = found[f"{side}.{name}"][:, : config.promoted]
    return found
