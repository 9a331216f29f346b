"""The microscope: a model and a basis, ready to look at. `micrographia.open()` gives one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from micrographia.atlas.atlas import Atlas, atlas_beside
from micrographia.bases.basis import Basis, Decomposition
from micrographia.bases.named import BasisChoice, ChosenBasis, choose_basis
from micrographia.errors import CallError
from micrographia.evidence.audit import Audit, audit
from micrographia.evidence.bench import Bench
from micrographia.evidence.carrying import carriers_of
from micrographia.evidence.circuit_runs import CircuitRun
from micrographia.evidence.circuits import Circuit, read_circuit
from micrographia.evidence.comparing import Comparison, compare
from micrographia.evidence.evidence import Evidence
from micrographia.evidence.files import load_evidence, save_evidence
from micrographia.evidence.interventions import Intervention, Mode
from micrographia.evidence.keeping import REFERENCES, SIZES, Curve, circuit_curve
from micrographia.evidence.notation import read_intervention
from micrographia.evidence.testing import Experiment, check_origin
from micrographia.evidence.verdicts import FEWEST, MOST
from micrographia.evidence.whatif import WhatIf, what_if
from micrographia.graph.build import graph_of
from micrographia.graph.carriers import Carriers
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import NodeId
from micrographia.graph.overview import Overview, overview
from micrographia.graph.select import Selection
from micrographia.graph.targets import Target, Tokens, difference
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import DEFAULT_NODES, DEFAULT_SHARE, trace
from micrographia.ids import TokenId
from micrographia.labels.beside import labels_beside
from micrographia.labels.label import Window
from micrographia.labels.naming import named
from micrographia.labels.store import LabelBook
from micrographia.labels.windows import Embedder, EmbedderName, alike
from micrographia.model.direct import Direct, HeadTops, direct_attribution, head_tops
from micrographia.model.frozen import Frozen, freeze
from micrographia.model.heads import HeadScores, score_heads
from micrographia.model.lens import Lens, logit_lens
from micrographia.model.load import load_model
from micrographia.model.model import Model, Prompts
from micrographia.model.run import Answer
from micrographia.model.tokens import ChatMessage, Prompt
from micrographia.report.beside import Beside
from micrographia.store import Progress, silent

__all__ = ["Microscope", "open"]


@final
class Microscope:
    """A model, a basis, and the instruments that look through both. Tokens may be given as text (" French") or as ids.

    `scope.model` runs, edits, steers and generates; `scope.basis` is what its MLPs are read in. Each instrument is also
    a function in `micrographia.model`, for those who hold only a model.
    """

    __slots__ = ("_atlas", "_labels", "chosen", "model")

    def __init__(self, model: Model, basis: BasisChoice = None) -> None:
        self.model = model
        self.chosen: ChosenBasis = choose_basis(model, basis)
        """The basis, its name, and what is known about it."""
        self._atlas: Atlas | None = None
        self._labels: LabelBook | None = None

    def __repr__(self) -> str:
        return f"<Microscope on {self.model!r}, read in {self.chosen.name}>"

    @property
    def basis(self) -> Basis:
        """What the MLPs' outputs are written in."""
        return self.chosen.basis

    @property
    def atlas(self) -> Atlas | None:
        """What each feature does over a corpus; None where no atlas lies beside the basis."""
        if self._atlas is None and self.chosen.folder is not None:
            self._atlas = atlas_beside(self.chosen.folder, self.model, self.basis)
        return self._atlas

    @property
    def labels(self) -> LabelBook | None:
        """What features are called, and what that is worth; None where no labels lie beside the atlas."""
        if self._labels is None and self.atlas is not None:
            self._labels = labels_beside(self.atlas)
        return self._labels

    def alike(
        self, layer: int, index: int, embedder: EmbedderName | Embedder = "model", *, seed: int = 0
    ) -> tuple[Window, ...]:
        """How alike the texts around a feature's strongest places are, before, behind and on both sides, each beside
        random places: by the model's own states, by "minilm", or by an embedder of your own."""
        if self.atlas is None:
            raise CallError(
                f"No atlas lies beside {self.chosen.name}: it is not known where features are active. "
                "Build one: micrographia atlas build"
            )
        return alike(self.model, self.atlas, layer, index, embedder, seed=seed)

    def token(self, token: str | int) -> TokenId:
        """The id of a token; text must be exactly one token, its leading space included."""
        return self.model.tokenizer.token(token)

    def lens(self, prompt: str | Prompt, *, watch: str | int | None = None, top: int = 5) -> Lens:
        """What the model would say if it stopped at each layer, position by position."""
        return logit_lens(self.model, prompt, watch=None if watch is None else self.token(watch), top=top)

    def heads(self, prompts: Prompts, *, n_repeated: int = 8, seed: int = 0) -> HeadScores:
        """What every attention head looks at."""
        return score_heads(self.model, self.model.prompts(prompts), n_repeated=n_repeated, seed=seed)

    def head_tops(self, prompt: str | Prompt, *, position: int = -1, top: int = 5) -> HeadTops:
        """The tokens that each head's output promotes."""
        return head_tops(self.model, prompt, position=position, top=top)

    def direct(
        self, prompt: str | Prompt, token: str | int, *, against: str | int | None = None, position: int = -1
    ) -> Direct:
        """How much each layer, head, MLP and neuron adds to a logit, or to a difference of two."""
        other = None if against is None else self.token(against)
        return direct_attribution(self.model, prompt, self.token(token), against=other, position=position)

    def answers(self, prompt: str | Prompt, *, position: int = -1, top: int = 5) -> tuple[Answer, ...]:
        """The likeliest next tokens at a position."""
        tokens = self.model.prompt(prompt)
        if not -len(tokens) <= position < len(tokens):
            n = len(tokens)
            raise CallError(f"There is no position {position}: this prompt has {n} tokens, at 0 to {n - 1}.")
        before = tokens.ids[: position % len(tokens) + 1]
        return self.model.run(self.model.tokenizer.from_ids(before), logits="last").answers(top=top)

    def trace(
        self,
        prompt: str | Prompt,
        *,
        target: Target = None,
        against: str | int | None = None,
        position: int = -1,
        max_nodes: int | None = DEFAULT_NODES,
        share: float = DEFAULT_SHARE,
        node_share: float = 0.8,
        edge_share: float = 0.98,
        group: bool = True,
        memory: int | None = None,
        progress: Progress = silent,
    ) -> Graph:
        """Why the model answers as it does: the features that made the answer, and through which others.

        `target` is the likeliest tokens, one token, or anything of `micrographia.graph.targets`; with `against`,
        what makes it likelier than another token. `share` of the influence is followed through at most `max_nodes`
        features; of all influence, nodes with `node_share` and edges with `edge_share` are shown, and with `group`
        those that do the same are put together. `memory` is a budget in bytes. The raw rows are `self.rows(...)`;
        `mg.page(graph)` makes a page of a graph.
        """
        tokens = self.model.prompt(prompt)
        wanted = self._target(tokens, target, against, position)
        found = self.rows(tokens, target=wanted, max_nodes=max_nodes, share=share, memory=memory, progress=progress)
        parts = self.decompose(found.prompt)
        graph = graph_of(found, parts, self.model.tokenizer.piece, node_share=node_share, edge_share=edge_share)
        graph = graph if self.labels is None else named(graph, self.labels, self.model.tokenizer)
        graph = replace(graph, beside=self._beside)
        return graph if group else graph.grouped(())

    def recognise(self, graph: Graph) -> Graph:
        """A graph from a file as if it had been traced here: its pages show what the atlas and the labels know.

        One of another model or basis is refused.
        """
        check_origin(self.bench(graph.prompt), graph)
        return replace(graph, beside=self._beside)

    @property
    def _beside(self) -> Beside | None:
        return None if self.atlas is None else Beside(self.atlas.folder, self.model.tokenizer)

    def overview(
        self,
        prompt: str | Prompt,
        *,
        target: Target = None,
        against: str | int | None = None,
        position: int = -1,
        top: int = 20,
    ) -> Overview:
        """At once: the signed effect of everything that is active on an answer, through all paths together."""
        tokens = self.model.prompt(prompt)
        wanted = self._target(tokens, target, against, position)
        return overview(self.model, self.basis, tokens, target=wanted, top=top)

    def rows(
        self,
        prompt: str | Prompt,
        *,
        target: Target = None,
        max_nodes: int | None = DEFAULT_NODES,
        share: float = DEFAULT_SHARE,
        selection: Selection | None = None,
        dtype: str | None = None,
        memory: int | None = None,
        progress: Progress = silent,
    ) -> Trace:
        """The complete attribution rows behind a graph, before any choice of what to show."""
        return trace(
            self.model,
            self.basis,
            prompt,
            target=target,
            max_nodes=max_nodes,
            share=share,
            selection=selection,
            dtype=dtype,
            memory=memory,
            progress=progress,
        )

    def _target(self, prompt: Prompt, target: Target, against: str | int | None, position: int) -> Target:
        """What is meant by a token, another one, and a position."""
        if against is not None:
            if target is not None and not isinstance(target, (str, int)):
                raise CallError("Against another token stands one token: target=' French', against=' German'.")
            one = self.answers(prompt, position=position, top=1)[0].token if target is None else self.token(target)
            other = self.token(against)
            if one == other:
                raise CallError(f"The target and the token against it are the same: {self.model.tokenizer.piece(one)}.")
            return difference(one, other, position)
        if target is None or isinstance(target, (str, int)):
            return Tokens(() if target is None else (self.token(target),), positions=position)
        if position != -1:
            raise CallError("This target has its own positions: give them there, and leave out position.")
        return target

    def bench(self, prompt: str | Prompt) -> Bench:
        """A clean run of a prompt, for many interventions on it."""
        return Bench(self.model, self.basis, self.model.prompt(prompt))

    def what_if(
        self,
        prompt: str | Prompt,
        change: str | Sequence[str] | Intervention,
        *,
        mode: Mode | None = None,
        tokens: Sequence[str | int] = (),
        top: int = 5,
        position: int = -1,
        features: int = 10,
        max_new: int = 0,
    ) -> WhatIf:
        """The answer if something inside is changed: `"25.567@14=0"`, `"head.23.4@14=x2"`, or an `Intervention`.

        `mode` is `Free()` unless said otherwise; `tokens` are watched beside the likeliest ones; `max_new` tokens are
        written after the prompt; `features` is how many of those that change with it are listed.
        """
        bench = self.bench(prompt)
        wanted = change if isinstance(change, Intervention) else read_intervention(bench, change)
        watched = [self.token(token) for token in tokens]
        return what_if(
            bench, wanted, mode, tokens=watched, top=top, position=position, features=features, max_new=max_new
        )

    def test(
        self,
        graph: Graph,
        *,
        seconds: float = 60.0,
        target: NodeId | str | None = None,
        claims: int | None = None,
        controls: int = MOST,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: Progress = silent,
    ) -> Evidence:
        """Test the claims of a graph on the real model, beside controls, for so many seconds.

        As many `claims` about the answer are tested, the strongest, 32 if not said otherwise, and then those about the
        inside. With the folder that the graph was opened from, what is measured is kept there as it comes, and what is
        there already is gone on from.
        """
        known = None if folder is None else load_evidence(graph, folder)
        if known is not None and target is not None and str(known.target) != str(target):
            raise CallError(
                f"{folder} holds evidence on {known.target}, not on {target}: begin anew, or test that one."
            )
        experiment = Experiment(self.bench(graph.prompt), graph, target=target, known=known, seed=seed, family=claims)
        keep = None if folder is None else Path(folder)
        return experiment.run(
            seconds,
            most=controls,
            keep=lambda found: None if keep is None else save_evidence(found, keep),
            progress=progress,
        )

    def compare(
        self,
        a: str | Prompt,
        b: str | Prompt,
        *,
        layers: tuple[int, int] | None = None,
        max_nodes: int | None = DEFAULT_NODES,
        most: int = 24,
        controls: int = 40,
        seed: int = 0,
        seconds: float = 60.0,
        progress: Progress = silent,
    ) -> Comparison:
        """Two prompts that are answered differently: which groups of features of B, put into A, make it answer as B.

        Both are traced, each for what makes its own answer likelier than the other's. `layers` limits the groups that
        are swapped, `most` how many are swapped together, `seconds` how long that may take once both are traced;
        `controls` is how many swaps of the same size stand beside.
        """
        prompts = (self.model.prompt(a), self.model.prompt(b))
        one, other = (self.answers(prompt, top=1)[0].token for prompt in prompts)
        if one == other:
            raise CallError(f"Both prompts are answered with {self.model.tokenizer.piece(one)!r}: nothing to flip.")
        graphs = (
            self.trace(prompts[0], target=one, against=other, max_nodes=max_nodes, progress=progress),
            self.trace(prompts[1], target=other, against=one, max_nodes=max_nodes, progress=progress),
        )
        benches = (self.bench(prompts[0]), self.bench(prompts[1]))
        return compare(
            benches, graphs, layers=layers, most=most, controls=controls, seed=seed, seconds=seconds, progress=progress
        )

    def circuit(self, circuit: str | Path | Circuit, *, controls: int = FEWEST, seed: int = 0) -> CircuitRun:
        """A circuit file on this model, in this basis: `.test(claim)` for each of `.circuit.claim`."""
        read = circuit if isinstance(circuit, Circuit) else read_circuit(circuit)
        return CircuitRun(read, self.bench, controls=controls, seed=seed)

    def carriers(self, graph: Graph, source: NodeId | str, target: NodeId | str) -> Carriers:
        """An edge of a graph, split exactly over the attention heads that carry it."""
        return carriers_of(self.bench(graph.prompt), graph, source, target)

    def audit(self, graph: Graph, *, features: int = 96, seed: int = 0, progress: Progress = silent) -> Audit:
        """How faithful a graph and its basis are to the model, by three experiments with published figures."""
        return audit(self.bench(graph.prompt), graph, features=features, seed=seed, progress=progress)

    def circuit_curves(
        self, graph: Graph, *, sizes: Sequence[int] = SIZES, seed: int = 0, progress: Progress = silent
    ) -> tuple[Curve, Curve]:
        """How much of the answer the graph's strongest features keep by themselves, and take with them, over their
        number; all else is the mean of other prompts, or one of them."""
        bench, others = self.bench(graph.prompt), [self.bench(text) for text in REFERENCES]
        mean, resample = (
            circuit_curve(bench, graph, others, ablation=ablation, sizes=sizes, seed=seed, progress=progress)
            for ablation in ("mean", "resample")
        )
        return mean, resample

    def freeze(self, prompt: str | Prompt) -> Frozen:
        """The model as an affine map: patterns, norm scales, gates and soft-caps held as this prompt left them."""
        return freeze(self.model, prompt)

    def decompose(self, prompt: str | Prompt) -> Decomposition:
        """What every MLP writes on this prompt, as a sum of the basis's features."""
        return self.basis.decompose(self.freeze(prompt))

    def chat(self, messages: str | Sequence[ChatMessage]) -> Prompt:
        """A prompt in the model's own chat template: one thing a user says, or a whole conversation."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self.model.tokenizer.chat(messages)


def open(
    model: str | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    basis: BasisChoice = None,
    progress: Progress = silent,
) -> Microscope:
    """Open the embedded model, or the one named: a folder, a GGUF file, a hub id with an optional @revision.

    `basis` is "neurons" (or "neurons:frozen-gate"), "transcoders" (the set that comes along for the model), a folder
    with transcoders of any tool, or a `Basis`; left out, it is those that come along, or the neurons if none do.
    `device` is cpu, cuda or mps, `dtype` float32, bfloat16, float16 or float64; what is not said is chosen by
    looking at the machine. `progress` hears of long work: unpacking a model for the first time.
    """
    return Microscope(load_model(model, device=device, dtype=dtype, progress=progress), basis)
