"""One prompt's clean run in a basis, ready to be intervened on."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.basis import Basis, Decomposition, LayerFeatures
from micrographia.errors import CallError
from micrographia.evidence.encoding import Encode, encoder_of
from micrographia.graph.fingerprint import basis_fingerprint
from micrographia.ids import Layer
from micrographia.model.fingerprint import weights_fingerprint
from micrographia.model.frozen import Frozen, freeze
from micrographia.model.model import Model
from micrographia.model.site import Point, Site
from micrographia.model.tokens import Prompt

__all__ = ["Bench"]


@final
class Bench:
    """The clean run. What of it an intervention needs is read once, when it is first asked for."""

    def __init__(self, model: Model, basis: Basis, prompt: str | Prompt) -> None:
        self.model = model
        self.basis = basis
        with torch.no_grad():
            self.found: Decomposition = basis.decompose(freeze(model, prompt))
        self._acts: dict[Point, tuple[Tensor, ...]] = {}
        self._active: dict[int, Float[Tensor, "pos feature"]] = {}

    def __repr__(self) -> str:
        return f"<Bench: {self.model.name} on {self.n_positions} tokens, in {type(self.basis).__name__}>"

    @property
    def frozen(self) -> Frozen:
        return self.found.frozen

    @property
    def prompt(self) -> Prompt:
        return self.found.frozen.prompt

    @property
    def n_layers(self) -> int:
        return self.model.anatomy.n_layers

    @property
    def n_positions(self) -> int:
        return len(self.prompt.ids)

    def clean(self, point: Point, layer: int = 0) -> Float[Tensor, "pos ..."]:
        """What the clean run held at a point; behind the blocks there is one for all layers."""
        if point not in self._acts:
            run = self.model.run(self.prompt, read=[point], logits="all" if not point.in_block else "none")
            layers = range(self.n_layers) if point.in_block else [None]
            sites = [Site(point, None if one is None else Layer(one)) for one in layers]
            self._acts[point] = tuple(run[site][0] for site in sites)
        return self._acts[point][layer]

    def pattern(self, layer: int) -> Float[Tensor, "head query key"]:
        """The clean attention pattern."""
        return self.frozen.layers[layer].pattern

    def logits(self) -> Float[Tensor, "pos d_vocab"]:
        """The clean run's logits."""
        return self.clean(Point.LOGITS)

    # ------------------------------------------------------------ features

    def active(self, layer: int) -> Float[Tensor, "pos feature"]:
        """The clean activation of every feature of a layer, those that are not active too."""
        if layer not in self._active:
            one = self.found.layers[layer]
            dense = self.frozen.embed.new_zeros(self.n_positions, self.n_features(layer))
            dense[one.position, one.feature] = one.activation
            self._active[layer] = dense
        return self._active[layer]

    def n_features(self, layer: int) -> int:
        """How many features the basis has at a layer."""
        return len(self.found.layers[layer].reads[0].rows)

    def encoder(self, layer: int) -> Encode | None:
        """The features of a layer, of any input; None where the basis has none."""
        return encoder_of(self.model, self.basis, layer)

    def write(
        self, layer: int, features: Tensor | list[int], position: int, to: int
    ) -> Float[Tensor, "feature d_model"]:
        """What a unit of each feature adds to the output of the MLP of layer `to` at a position."""
        term = self.found.layers[layer].writes[Layer(to)]
        rows = term.rows[features]
        return rows if term.scale is None else rows / term.scale[position]

    def written_to(self, layer: int) -> tuple[int, ...]:
        """The layers that a layer's features write to."""
        return tuple(self.found.layers[layer].writes)

    def layer(self, layer: int) -> LayerFeatures:
        """A layer's decomposition, if there is such a layer."""
        if not 0 <= layer < self.n_layers:
            raise CallError(f"There is no layer {layer}: this model has the layers 0 to {self.n_layers - 1}.")
        return self.found.layers[layer]

    def check_position(self, position: int) -> None:
        """Refuse a position that is not the prompt's."""
        if not 0 <= position < self.n_positions:
            raise CallError(
                f"There is no position {position}: this prompt has {self.n_positions} tokens, "
                f"at 0 to {self.n_positions - 1}."
            )

    def check_feature(self, layer: int, index: int) -> None:
        """Refuse a feature that the basis does not have."""
        count = len(self.layer(layer).reads[0].rows)
        if not count:
            covered = [str(i) for i in range(self.n_layers) if self.n_features(i)]
            raise CallError(f"The basis leaves out layer {layer}. It has features at {', '.join(covered)}.")
        if not 0 <= index < count:
            raise CallError(f"There is no feature {index} in layer {layer}: it has {count}, 0 to {count - 1}.")

    # ------------------------------------------------------------ who they are

    def fingerprints(self) -> tuple[str, str]:
        """Those of the model and of the basis, as a graph's facts have them."""
        return weights_fingerprint(self.model.weights), basis_fingerprint(self.basis, self.found)

    def piece(self, token: int) -> str:
        """A token as people read it."""
        return self.model.tokenizer.piece(token)
