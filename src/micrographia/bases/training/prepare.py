"""From a corpus, a model and choices to a training that can begin or go on, and from its end to a basis on disk."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from micrographia import store
from micrographia.bases.formats.convert import open_basis, save_basis
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.matching import matched
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.formats.storage import Storage
from micrographia.bases.training import checkpoint
from micrographia.bases.training.blocks import Blocks, OfCorpus
from micrographia.bases.training.config import TrainConfig, config_of, load_config, to_toml
from micrographia.bases.training.trainer import Trainer
from micrographia.bases.transcoder import PerLayer, TranscoderLayer
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.encoding import tokenizer_sha256
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model

__all__ = ["CONFIG", "TRANSCODERS", "Training", "chosen_config", "finish", "prepare"]

CONFIG = "train.toml"
TRANSCODERS = "transcoders"


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A training in its folder, ready to run."""

    folder: Path
    corpus: Corpus
    model: Model
    trainer: Trainer


def chosen_config(folder: Path, file: Path | None, flags: Mapping[str, object], *, resume: bool) -> TrainConfig:
    """The choices: those of the folder that is gone on with, those of a file, and over them those of the flags."""
    there = checkpoint.latest(folder) if folder.is_dir() else None
    if there is not None and not resume:
        found = checkpoint.peek(there)
        raise CallError(
            f"{folder} holds a training that stands before block {found.block} of {found.config.n_blocks()}. "
            "Go on with it by --resume, or choose another folder."
        )
    if resume and there is None and not (folder / CONFIG).is_file():
        raise CallError(f"{folder} holds no training to go on with. Leave --resume out to begin one.")
    base = file if file is not None or not resume else folder / CONFIG
    return config_of({**({} if base is None else load_config(base)), **flags}, str(base or "This training"))


def prepare(
    folder: Path,
    corpus: Corpus,
    model: Model,
    config: TrainConfig,
    *,
    workers: int = 0,
    save_every: int = 4,
    start: Path | None = None,
) -> Training:
    """Check that all of it fits together, and write the choices down."""
    corpus.check_tokenizer(model.tokenizer)
    layers = tuple(map(Layer, config.layers or range(model.anatomy.n_layers)))
    row = corpus.windows("train", config.window, seed=config.seed)
    begun = None if start is None else _start(start, model)
    if (config.start is None) != (start is None):
        raise CallError("Weights to start from are named in the configuration and given with --start-from, both.")
    blocks = Blocks(model, OfCorpus(row), layers, config)
    if blocks.n_windows > len(row):
        raise WorkError(
            f"There is too little text: a block of {config.block} positions takes {blocks.n_windows} windows of "
            f"{config.window} tokens, and {corpus.folder} has {len(row)}. Give more text, or a smaller --block."
        )
    text = hashlib.sha256(f"{corpus.sha256} {model.name} {model.dtype}".encode()).hexdigest()
    trainer = Trainer(blocks, folder, workers=workers, save_every=save_every, text=text, start=begun)
    with store.writing(folder, kind=WorkError, elsewhere="choose another folder."):
        folder.mkdir(parents=True, exist_ok=True)
        with store.atomic_file(folder / CONFIG) as stream:
            stream.write(to_toml(config).encode())
    return Training(folder, corpus, model, trainer)


def finish(training: Training, storage: Storage) -> Path:
    """Write the basis as it stands, beside the checkpoint that it comes from."""
    trainer, model = training.trainer, training.model
    front = model.tokenizer.front()
    config = trainer.config
    facts = BasisFacts(
        bos="prepended" if front else "absent",
        bos_token=front[0] if front else None,
        first_position="left-out" if config.drop_first else "trained",
        model=model.name,
        model_layers=model.anatomy.n_layers,
        tokenizer_sha256=tokenizer_sha256(model.tokenizer),
        dataset=f"corpus {training.corpus.sha256}",
        training=config.model_dump(mode="json"),
    )
    folder = training.folder / TRANSCODERS
    if folder.exists():
        store.remove_folder(folder)
    save_basis(BasisFile.of(trainer.basis(), facts), folder, storage=storage)
    return folder


def _start(folder: Path, model: Model) -> Mapping[Layer, TranscoderLayer]:
    basis = matched(open_basis(folder), model.anatomy, model.weights).basis()
    if not isinstance(basis, PerLayer):
        raise CallError(f"{folder} holds a cross-layer transcoder; a training starts from per-layer ones.")
    return {layer: basis.layers[layer] for layer in basis.layers}
