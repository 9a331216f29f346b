"""What the benchmark of attribution runs on: one model, one set of transcoders, prompts of given lengths.

Both sides get the same files. The model is the embedded one, for circuit-tracer in a folder that transformers 4 reads;
the transcoders lie in circuit-tracer's format. Where none are given, some are fitted in a minute: JumpReLU, random
inputs as encoder rows, thresholds that leave `ACTIVE` of `FEATURES` features active, decoders by ridge regression.
They explain little, and cost exactly what trained ones of their size and sparsity cost.
"""

import pydoc_data.topics
from pathlib import Path

import torch
from torch import Tensor

import micrographia as mg
from micrographia.bases.activation import JumpRelu
from micrographia.bases.formats.convert import format_named, open_basis
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.format import Hints
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.formats.writing import new_folder
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.ids import Layer
from micrographia.model.checkpoint import locate
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt
from tests.interop.version_4 import save_version_4

__all__ = ["PLACE", "peer_basis", "peer_model", "prompt_of"]

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".cache" / "benchmarks" / "attribution"
FEATURES, ACTIVE = 2048, 30
TOKENS, WINDOW = 4096, 128

PASSAGE = (
    "The official language of the country where the Eiffel Tower is located is French, and the one of the country "
    "where the Colosseum is located is Italian. A traveller who has seen both of them in one summer, and who went by "
    "train from the north to the south, heard four languages on the way and could read the signs in three. What she "
    "remembered best, when she was asked about it many years later, was none of the towers, but the bread in a small "
    "village near the border and the name of its"
)


def prompt_of(model: Model, n_tokens: int) -> Prompt:
    """The passage up to so many tokens, what stands in front included; what is longer comes from the licence."""
    text = PASSAGE if n_tokens <= 96 else (ROOT / "LICENSE").read_text()
    ids = model.tokenizer.prompt(text).ids
    if len(ids) < n_tokens:
        raise ValueError(f"the text for the prompts has {len(ids)} tokens, and {n_tokens} are wanted")
    return model.tokenizer.from_ids(ids[:n_tokens])


def peer_model() -> Path:
    """The embedded model's folder for circuit-tracer."""
    folder = PLACE / "model"
    if not folder.exists():
        save_version_4(locate(None).folder, folder)
    return folder


def peer_basis(given: Path | None) -> Path:
    """Transcoders in circuit-tracer's format: the given ones, converted if need be, or some made here."""
    if given is not None and (given / "config.yaml").is_file():
        return given
    folder = PLACE / ("fitted" if given is None else f"converted-{given.name}")
    if not folder.exists():
        file = fitted() if given is None else open_basis(given, hints=Hints())
        tool = format_named("circuit-tracer")
        fits = tool.fit(file, "fp32")
        if fits.lost:
            raise ValueError(f"circuit-tracer cannot take all of {given}: {'; '.join(fits.lost)}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            tool.write(fits.file, partial, "fp32")
    return folder


def fitted() -> BasisFile:
    """Transcoders from a pass over the language reference that comes with Python."""
    model = mg.open(dtype="float32", device="cpu").model
    text = "\n".join(pydoc_data.topics.topics.values())[:32_000]
    ids = model.tokenizer.prompt(text).ids[: TOKENS + 1]
    inputs: dict[int, list[Tensor]] = {layer: [] for layer in range(model.anatomy.n_layers)}
    outputs: dict[int, list[Tensor]] = {layer: [] for layer in range(model.anatomy.n_layers)}
    for start in range(0, TOKENS, WINDOW):
        window = model.tokenizer.from_ids([ids[0], *ids[start + 1 : start + 1 + WINDOW]])
        run = model.run(window, read=("mlp_in", "mlp_out"), logits="none")
        for layer in inputs:
            inputs[layer].append(run[f"mlp_in.{layer}"][0, 1:])
            outputs[layer].append(run[f"mlp_out.{layer}"][0, 1:])
    generator = torch.Generator().manual_seed(0)
    layers = {
        Layer(layer): fitted_layer(torch.cat(inputs.pop(layer)), torch.cat(outputs[layer]), generator)
        for layer in list(inputs)
    }
    return BasisFile.of(PerLayer(layers), BasisFacts())


def fitted_layer(x: Tensor, m: Tensor, generator: torch.Generator) -> TranscoderLayer:
    centred = x - x.mean(0)
    drawn = torch.randperm(len(x), generator=generator)[:FEATURES]
    rows = torch.nn.functional.normalize(centred[drawn], dim=1)
    bias = -rows @ x.mean(0)
    pre = torch.addmm(bias, x, rows.T)
    least = pre.T.topk(len(x) * ACTIVE // FEATURES + 1).values[:, -2:]
    threshold = least.mean(1).clamp(min=1e-3)  # between two values: on one, rounding would decide what is active
    acts = torch.where(pre > threshold, pre, 0.0)
    centre = m.mean(0)
    gram = acts.T @ acts
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    decoder = torch.linalg.solve(gram, acts.T @ (m - centre))
    return TranscoderLayer(Encoder(rows, bias, JumpRelu(threshold)), decoder, centre)
