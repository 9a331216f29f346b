"""Which basis a model is read in: chosen by name, by folder or as an object, and held against the model first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from micrographia.bases.basis import Basis
from micrographia.bases.formats.convert import basis_files, open_basis
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.lazily import once
from micrographia.bases.formats.matching import check_sizes, matched
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.neurons import GateRule, Neurons
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.corpus.encoding import tokenizer_sha256
from micrographia.errors import CallError, UnsupportedError
from micrographia.model import embedded
from micrographia.model.machine import free_memory
from micrographia.model.model import Model

__all__ = ["NEURONS", "TRANSCODERS", "BasisChoice", "ChosenBasis", "choose_basis", "shipped_folder"]

BasisChoice: TypeAlias = str | Path | Basis | None
"""`neurons`, `neurons:frozen-gate`, `transcoders`, a folder, or a basis; None is the best that comes along."""

NEURONS = "neurons"
TRANSCODERS = "transcoders"

_GATES: dict[str, GateRule] = {NEURONS: "half", f"{NEURONS}:half": "half", f"{NEURONS}:frozen-gate": "frozen-gate"}
_SHELF = Path(__file__).parent / "shipped"
_SHIPPED = {embedded.NAME: "smollm2-135m"}
"""For each model that has a set in the package, its folder there."""
_ALSO = {embedded.FULL_NAME.lower(): embedded.NAME, "gpt2-small": "gpt2"}
"""Other words for a model."""


@dataclass(frozen=True, slots=True, eq=False)
class ChosenBasis:
    """A basis that fits the model, the name it goes by, and what its files say about it."""

    basis: Basis
    name: str
    facts: BasisFacts | None = None
    """None where there are no files: the model's own neurons, or a basis made in memory."""
    folder: Path | None = None
    """Where the files lie, and the atlas with them."""


def choose_basis(model: Model, choice: BasisChoice = None) -> ChosenBasis:
    """The basis that is meant, if it fits the model. A basis on disk stays there until its layers are used."""
    match choice:
        case None:
            shipped = shipped_folder(model)
            return ChosenBasis(Neurons(), NEURONS) if shipped is None else _opened(model, shipped, TRANSCODERS)
        case str() if choice in _GATES:
            return ChosenBasis(Neurons(_GATES[choice]), choice)
        case str() if choice == TRANSCODERS:
            return _opened(model, _shipped(model), TRANSCODERS)
        case str() | Path():
            return _opened(model, _folder(choice), str(choice))
        case Basis():
            return ChosenBasis(_fitting(choice, model), type(choice).__name__)
        case _:
            raise CallError(f"A basis is a name, a folder or a Basis, and this is a {type(choice).__name__}.")


def shipped_folder(model: Model | None = None) -> Path | None:
    """The transcoders that come along for a model (the embedded one, if none is given); None if there are none."""
    name = _SHIPPED.get(embedded.NAME if model is None else model.name)
    folder = None if name is None else _SHELF / name
    return folder if folder is not None and folder.is_dir() else None


def _shipped(model: Model) -> Path:
    folder = shipped_folder(model)
    if folder is None:
        missing = "this installation lacks those of" if model.name in _SHIPPED else "none come along for"
        raise CallError(
            f"There are no transcoders: {missing} {model.name}. Read it in its neurons, basis={NEURONS!r}, or give a "
            "folder with transcoders."
        )
    return folder


def _folder(said: str | Path) -> Path:
    folder = Path(said).expanduser()
    if not folder.exists():
        raise CallError(
            f"There is no basis {str(said)!r}: give a folder, or one of {', '.join((*_GATES, TRANSCODERS))}."
        )
    return folder


def _opened(model: Model, folder: Path, name: str) -> ChosenBasis:
    file = matched(open_basis(folder), model.anatomy, model.weights)
    _check_model(file, model, folder)
    _check_front(file.facts, model, folder)
    # Ours and the embedded model are pinned together, and a tokenizer takes half a second to weigh.
    if name != TRANSCODERS:
        _check_tokenizer(file.facts, model, folder)
    return ChosenBasis(_used(file, model, folder), name, file.facts, folder)


def _used(file: BasisFile, model: Model, folder: Path) -> PerLayer | CrossLayer:
    """The basis in the model's numbers: each layer restored once and kept where memory allows, else at each use."""
    basis = file.basis(model.dtype, model.device)
    size = sum(path.stat().st_size for path in basis_files(folder))
    if size * model.dtype.itemsize > free_memory(model.device) / 4:
        return basis
    if isinstance(basis, PerLayer):
        return PerLayer(once(basis.layers))
    return CrossLayer(once(basis.encoders), once(basis.decoders), once(basis.biases), once(basis.skips))


def _check_model(file: BasisFile, model: Model, folder: Path) -> None:
    said, n_layers = file.facts.model, file.facts.model_layers
    if said is not None and _bare(said) != _bare(model.name):
        raise UnsupportedError(f"{folder} was made for {said}, and this model is {model.name}. {_all_the_same(folder)}")
    if n_layers is not None and n_layers != model.anatomy.n_layers:
        raise UnsupportedError(
            f"{folder} was made for a model of {n_layers} layers, and {model.name} has {model.anatomy.n_layers}."
        )


def _check_front(facts: BasisFacts, model: Model, folder: Path) -> None:
    """What stands in front of a prompt moves every activation of its first position, and some of all others."""
    front, wanted = model.tokenizer.front(), facts.bos_token
    if facts.bos == "prepended":
        right = bool(front) and wanted in (None, front[0])
        there = "a BOS" if wanted is None else _quoted(model, wanted)
    else:
        right, there = facts.bos is None or not front, "nothing"
    if not right:
        raise UnsupportedError(
            f"{folder} was made from text with {there} in front, and prompts of {model.name} have "
            f"{_quoted(model, front[0]) if front else 'nothing'} there. {_all_the_same(folder)}"
        )


def _check_tokenizer(facts: BasisFacts, model: Model, folder: Path) -> None:
    if facts.tokenizer_sha256 not in (None, tokenizer_sha256(model.tokenizer)):
        raise UnsupportedError(
            f"{folder} was made from the tokens of another tokenizer than that of {model.name}. {_all_the_same(folder)}"
        )


def _fitting(basis: Basis, model: Model) -> Basis:
    """A basis in memory says nothing about where it comes from; its sizes and numbers must be the model's."""
    match basis:
        case PerLayer(layers) if layers:
            weight, last = layers[min(layers)].encoder.weight, max(layers)
        case CrossLayer(encoders) if encoders:
            weight, last = encoders[min(encoders)].weight, max(encoders)
        case _:
            return basis
    check_sizes(weight.shape[1], last, model.anatomy)
    if weight.dtype != model.dtype or weight.device != model.device:
        raise UnsupportedError(
            f"The basis holds {weight.dtype} on {weight.device}, and the model {model.dtype} on {model.device}: "
            "file.basis(dtype, device) gives it as the model's."
        )
    return basis


def _bare(name: str) -> str:
    """`google/Gemma-2-2b@main` → `gemma-2-2b`."""
    bare = name.rsplit("/", 1)[-1].split("@", 1)[0].lower()
    return _ALSO.get(bare, bare)


def _quoted(model: Model, token: int) -> str:
    return model.tokenizer.piece(token) if token < model.anatomy.d_vocab else f"token {token}"


def _all_the_same(folder: Path) -> str:
    return f"To use it all the same, give the basis itself: basis=open_basis(Path({str(folder)!r})).basis()"
