"""From a name to a `Model`: find the checkpoint, choose device and dtype, sort the weights into place."""

from math import prod

from micrographia.model.assemble import assemble
from micrographia.model.checkpoint import locate
from micrographia.model.machine import choose_device, choose_dtype
from micrographia.model.model import Model
from micrographia.model.settings import anatomy_of
from micrographia.model.tokens import Tokenizer
from micrographia.store import Progress, silent

__all__ = ["load_model"]


def load_model(
    name: str | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress = silent,
) -> Model:
    """Open a model: the embedded one, a folder, a GGUF file, or a hub id with an optional @revision."""
    chosen_device = choose_device(device)
    checkpoint = locate(name, progress=progress)
    config = checkpoint.config()
    anatomy = anatomy_of(config)
    tensors = checkpoint.tensors()
    chosen_dtype = choose_dtype(dtype, chosen_device, sum(prod(tensors.shape(key)) for key in tensors))
    weights = assemble(anatomy, config.model_type, tensors, device=chosen_device, dtype=chosen_dtype)
    tokenizer = Tokenizer.load(checkpoint)
    tokenizer.context = min(tokenizer.context, anatomy.context)
    return Model(checkpoint.name, anatomy, weights, tokenizer)
