"""From a corpus, a model and a basis to an atlas in its folder.

While it is made, an atlas lies beside its folder under the name `.NAME.building`: the plan, the text, and what readers
have written down. The same call goes on from there after it was stopped or killed. When all blocks are read, the parts
are joined layer by layer, and the finished folder appears under its name at once.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from micrographia import store
from micrographia.atlas.crew import read_all
from micrographia.atlas.effects import Effects, row_norms, written_by
from micrographia.atlas.files import write_arrays
from micrographia.atlas.fingerprint import FeatureBasis, basis_fingerprint, feature_basis
from micrographia.atlas.harvest import Job, blocks_in, layer_of_part, look, parts_in
from micrographia.atlas.plan import AtlasConfig, AtlasManifest, BasisKind, BasisRecord, LayerPlan, Plan, SourceRecord
from micrographia.atlas.sketch import Sketch
from micrographia.atlas.strength import exponent_for
from micrographia.atlas.text import FILE, Text
from micrographia.atlas.watch import EncoderWatch, NeuronWatch, Watch, neuron_bound
from micrographia.bases.basis import Basis
from micrographia.bases.formats.writing import refuse_taken
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.encoding import tokenizer_sha256
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.fingerprint import weights_fingerprint
from micrographia.model.model import Model
from micrographia.store import Progress, silent

__all__ = ["begun_dtype", "build_atlas", "building_folder", "layer_file", "watches_of", "write_layer"]

_PLAN = "plan.json"


def build_atlas(
    model: Model,
    basis: Basis,
    corpus: Corpus,
    folder: Path,
    *,
    name: str = "",
    config: AtlasConfig = AtlasConfig(),
    workers: int = 1,
    save_seconds: float = 60.0,
    stopped: Callable[[], bool] = lambda: False,
    progress: Progress = silent,
) -> AtlasManifest | None:
    """Build an atlas, or go on with one that was begun; None if it was stopped before its end."""
    if model.attached_edits:
        raise CallError("An atlas is of the model as it is, and edits are attached. Build it outside the `with` block.")
    if workers > 1 and model.device.type != "cpu":
        raise CallError(f"Several workers share a CPU; on {model.device} there is one: --workers 1.")
    refuse_taken(folder)
    corpus.check_tokenizer(model.tokenizer)
    place = building_folder(folder)
    elsewhere = "choose another folder: --out DIR"
    with (
        store.writing(folder, kind=WorkError, elsewhere=elsewhere),
        store.locked(place, progress, kind=WorkError, elsewhere=elsewhere),
    ):
        refuse_taken(folder)  # another process may have made it meanwhile
        work = _Work(model, feature_basis(basis), corpus, place, name, config)
        plan = work.plan()
        job = work.job(plan, save_seconds)
        done = sorted(block for part in parts_in(place) for block in blocks_in(part))
        progress("reading", len(done), plan.n_blocks)
        _read(job, plan, done, workers, stopped, progress)
        if stopped():
            return None
        manifest = work.finish(plan, job, folder, progress)
        shutil.rmtree(place)
    _lock(place).unlink(missing_ok=True)
    return manifest


def building_folder(folder: Path) -> Path:
    """Where an atlas lies while it is made."""
    return folder.with_name(f".{folder.name}.building")


def begun_dtype(folder: Path) -> str | None:
    """The dtype of the model that an atlas was begun with, if one was."""
    path = building_folder(folder) / _PLAN
    return _begun(path).dtype if path.is_file() else None


def _begun(path: Path) -> Plan:
    return store.record_of(json.loads(path.read_bytes()), Plan, path, remedy=store.removal_line(path.parent))


def _lock(place: Path) -> Path:
    """The file by which a folder that is being made is locked."""
    return place.with_name(place.name + ".lock")


def layer_file(layer: int) -> str:
    """The name of a layer's file."""
    return f"layer-{layer:03}.safetensors"


def watches_of(plan: Sequence[LayerPlan], basis: FeatureBasis, model: Model) -> tuple[Watch, ...]:
    """What looks at each layer."""
    return tuple(_watch(each, basis, model) for each in plan)


def write_layer(folder: Path, layer: int, sketch: Sketch, ends: dict[str, np.ndarray]) -> None:
    """The file of a finished layer: arrays of fixed shapes, one row for each feature."""
    if int(sketch.histogram.max()) >= 1 << 32:
        raise WorkError(f"A feature of layer {layer} was active more than four thousand million times: read less text.")
    arrays = {
        "histogram": sketch.histogram.astype(np.uint32),
        "total": sketch.total,
        "square": sketch.square,
        "negative": sketch.negative.astype(np.uint32),
        **{f"strongest.{key}": array for key, array in sketch.padded("strongest").items()},
        **{f"random.{key}": array for key, array in sketch.padded("random").items()},
        **ends,
    }
    write_arrays(folder / layer_file(layer), arrays)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What is built from what."""

    model: Model
    basis: FeatureBasis
    corpus: Corpus
    place: Path
    name: str
    config: AtlasConfig

    def plan(self) -> Plan:
        """The plan that was written down, if it is this one; else a new one, and the text."""
        path = self.place / _PLAN
        if path.is_file():
            found = _begun(path)
            self._check_same(found)
            return found
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        bare = self._bare_plan()
        c = self.config
        Text.of(self.corpus, c.split, length=c.window, n_windows=bare.n_windows, seed=c.seed).write(self.place)
        whole = bare.model_copy(update={"layers": self._measured(Text.open(self.place))})
        store.write_json(path, whole.model_dump(mode="json"))
        return whole

    def job(self, plan: Plan, save_seconds: float) -> Job:
        c = self.config
        watches = watches_of(plan.layers, self.basis, self.model)
        weights, anatomy = self.model.weights, self.model.anatomy
        return Job(weights, anatomy, watches, self.place, c.block, c.span, c.shape, c.seed, save_seconds)

    def finish(self, plan: Plan, job: Job, folder: Path, progress: Progress) -> AtlasManifest:
        """Join the parts layer by layer, add what needs no text, and let the folder appear."""
        final = self.place / "finished"
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir()
        parts, effects = parts_in(self.place), Effects.of(self.model.weights)
        active: list[int] = []
        dead: list[int] = []
        for number, each in enumerate(plan.layers):
            progress("joining", number, len(plan.layers))
            layer = Layer(each.layer)
            whole, *others = (layer_of_part(part, layer, job.shape) for part in parts)
            for other in others:
                whole.merge(other)
            written = written_by(self.basis, self.model.weights, layer)
            write_layer(final, layer, whole, effects.ends(written, self.config.promoted))
            fired = whole.histogram.sum(1)
            active.append(int(fired.sum()))
            dead.append(int((fired == 0).sum()))
        progress("joining", len(plan.layers), len(plan.layers))
        shutil.copyfile(self.place / FILE, final / FILE)
        names = [FILE, *(layer_file(each.layer) for each in plan.layers)]
        files = tuple(store.record_file(final / name) for name in names)
        manifest = AtlasManifest(plan=plan, active=tuple(active), dead=tuple(dead), files=files)
        store.write_json(final / store.MANIFEST, manifest.model_dump(mode="json"))
        store.sync_folder(final)
        refuse_taken(folder)
        final.replace(folder)
        return manifest

    # ------------------------------------------------------------ parts

    def _bare_plan(self) -> Plan:
        """The plan without its layers, which must be measured."""
        c, model, manifest = self.config, self.model, self.corpus.manifest
        if c.window > model.anatomy.context:
            raise CallError(
                f"Windows of {c.window} tokens are longer than the context of {model.name}, {model.anatomy.context}."
            )
        n_windows, there = -(-c.tokens // (c.window - 1)), len(self.corpus.windows(c.split, c.window, seed=c.seed))
        if n_windows > there:
            raise WorkError(
                f"There is too little text: the {c.split} split of {self.corpus.folder} has "
                f"{there * (c.window - 1):,} positions in windows of {c.window}, and {c.tokens:,} are asked for. "
                f"Ask for fewer: --tokens {there * (c.window - 1)}"
            )
        return Plan(
            config=c,
            model=model.name,
            model_fingerprint=weights_fingerprint(model.weights),
            dtype=str(model.dtype).removeprefix("torch."),
            basis=BasisRecord(
                kind=_kind(self.basis), name=self.name, fingerprint=basis_fingerprint(self.basis, model.weights)
            ),
            tokenizer=model.tokenizer.name,
            tokenizer_sha256=tokenizer_sha256(model.tokenizer),
            d_vocab=model.tokenizer.d_vocab,
            corpus_sha256=self.corpus.sha256,
            sources=tuple(SourceRecord(name=each.name, licence=each.licence) for each in manifest.sources),
            n_windows=n_windows,
            layers=(),
        )

    def _measured(self, text: Text) -> tuple[LayerPlan, ...]:
        """Each layer's unit, and its neurons' bound, from the first block."""
        rough = tuple(
            LayerPlan(layer=layer, n_features=n, exponent=0, bound=0.0 if isinstance(self.basis, Neurons) else None)
            for layer, n in _sizes(self.basis, self.model).items()
        )
        found: dict[int, LayerPlan] = {}

        def see(watch: Watch, act: Tensor) -> None:
            match watch:
                case NeuronWatch(layer, norms):
                    post = act[:, 1:].flatten(0, 1)
                    bound = neuron_bound(post, norms)
                    values = post[(post.abs() * norms).float() > bound]
                case EncoderWatch(layer):
                    dense, least = watch.dense(act)
                    bound, values = None, dense[dense > least]
            n, exponent = watch.n_features, exponent_for(values)
            found[layer] = LayerPlan(layer=layer, n_features=n, exponent=exponent, bound=bound)

        c = self.config
        watches = watches_of(rough, self.basis, self.model)
        weights, anatomy = self.model.weights, self.model.anatomy
        job = Job(weights, anatomy, watches, self.place, c.block, c.span, c.shape, c.seed, 0.0)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            look(job, torch.from_numpy(text.ids[: c.block].astype(np.int64)), see)
        finally:
            torch.set_num_threads(threads)
        return tuple(found[layer] for layer in sorted(found))

    def _check_same(self, found: Plan) -> None:
        ours, theirs = self._bare_plan().model_dump(), found.model_dump()
        chosen, before = ours.pop("config"), theirs.pop("config")
        changed = [f"{key} {before[key]} → {chosen[key]}" for key in chosen if chosen[key] != before[key]]
        changed += [key.replace("_", " ") for key in ours if key != "layers" and ours[key] != theirs[key]]
        if changed:
            raise CallError(
                f"{self.place} holds an atlas that was begun with other choices ({', '.join(changed)}). Go on with the "
                f"same ones, or begin anew. {store.removal_line(self.place)}"
            )


def _read(job: Job, plan: Plan, done: list[int], workers: int, stopped: Callable[[], bool], progress: Progress) -> None:
    left = sorted(set(range(plan.n_blocks)) - set(done))
    if len(done) != len(set(done)):
        raise WorkError(f"{job.folder} holds a block twice. {store.removal_line(job.folder)}")
    finished = len(done)

    def tell(block: int) -> None:
        nonlocal finished
        finished += 1
        progress("reading", finished, plan.n_blocks)

    if left:
        read_all(job, left, workers=min(workers, len(left)), stopped=stopped, tell=tell)


def _kind(basis: FeatureBasis) -> BasisKind:
    match basis:
        case Neurons():
            return "neurons"
        case PerLayer():
            return "per-layer"
        case CrossLayer():
            return "cross-layer"


def _sizes(basis: FeatureBasis, model: Model) -> dict[Layer, int]:
    """How many features each layer has that has any."""
    match basis:
        case PerLayer(layers):
            return {layer: layers[layer].encoder.n_features for layer in sorted(layers)}
        case CrossLayer(encoders):
            return {layer: encoders[layer].n_features for layer in sorted(encoders)}
        case Neurons():
            return {Layer(layer): model.anatomy.d_mlp for layer in range(model.anatomy.n_layers)}


def _watch(plan: LayerPlan, basis: FeatureBasis, model: Model) -> Watch:
    layer = Layer(plan.layer)
    match basis:
        case PerLayer(layers):
            return EncoderWatch(layer, layers[layer].encoder, plan.exponent)
        case CrossLayer(encoders):
            return EncoderWatch(layer, encoders[layer], plan.exponent)
        case Neurons():
            assert plan.bound is not None, "neurons have a bound"
            norms = row_norms(written_by(basis, model.weights, layer).float())
            return NeuronWatch(layer, norms, plan.bound, plan.exponent)
