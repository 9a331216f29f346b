"""A model of one block whose neurons are known, and text in which they have something to do.

Its residual is cut into parts that do not touch: the token, the position, the topics of the tokens so far, the token
three back, and what is said. One head copies the token three back, another averages topics over all tokens so far; each
neuron of its ReLU MLP reads what it was made to read and writes what it was made to write, so that the MLP is a
transcoder, exactly. The text gives the neurons their due: behind what an output neuron reads, its word often follows.

    input      one token                                 writes at random
    both       one token                                 says a word, which often comes next
    output     any of eight tokens that have nothing in common, and says a word, which often comes next
    skip       one token three behind another            writes at random
    cross      the topic of the text so far              writes at random
    position   one position in the window, or two        writes at random
    sum        any of six tokens that have nothing in common, and writes at random
    random     a random direction of tokens and places   writes at random
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor

from micrographia.bases.activation import Relu
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.corpus.build import build
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.recipe import recipe_for
from micrographia.errors import UnsupportedError
from micrographia.ids import Layer, TokenId
from micrographia.model.anatomy import Activation, Anatomy
from micrographia.model.model import Model
from micrographia.model.tokens import BosPolicy, Tokenizer
from micrographia.model.weights import AttentionWeights, BlockWeights, Linear, MlpWeights, NormWeights, Weights

__all__ = ["EXPECTED", "ROLES", "WINDOW", "Planted", "Role", "Slide"]

Role: TypeAlias = Literal["input", "both", "output", "skip", "cross", "position", "sum", "random"]
ROLES: tuple[Role, ...] = ("input", "both", "output", "skip", "cross", "position", "sum", "random")
EXPECTED: Mapping[Role, str] = {
    "input": "input",
    "both": "both",
    "output": "output",
    "skip": "input",
    "cross": "cross",
    "position": "input",
    "sum": "obscure",
    "random": "obscure",
}
"""The kind that each should be found to be: there is nothing to say of the last two."""
WINDOW = 32
"""Tokens that the model sees at most."""

_WORDS = 400
_TOPICS = 12
_WIDE = 256
_SAID = 40
_PAIRED = 40
_BACK = 3
_SURE = 0.8
"""How often a word follows where a neuron says it."""
_LOUD = 1.0
"""How long what a neuron writes is."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One neuron: what it is, which tokens it reads, and the token that it says, if it says one."""

    role: Role
    reads: tuple[int, ...] = ()
    says: int | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Slide:
    """The model, its neurons as a transcoder, and what each of them is."""

    model: Model
    basis: PerLayer
    features: tuple[Planted, ...]
    topics: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(counts: Mapping[Role, int], seed: int = 0) -> "Slide":
        """So many neurons of each role."""
        chance = np.random.default_rng(seed)
        words = chance.permutation(np.arange(1, _WORDS)).tolist()
        topics = tuple(tuple(words[8 * i : 8 * i + 8]) for i in range(_TOPICS))
        features = tuple(_drawn(role, i, words[8 * _TOPICS :], chance) for role in ROLES for i in range(counts[role]))
        return _assembled(features, topics, seed)

    def corpus(self, folder: Path, documents: int, seed: int = 0) -> Corpus:
        """A corpus of so many documents of a hundred tokens, in the folder `corpus`."""
        texts = folder / "texts"
        texts.mkdir(parents=True)
        for number in range(documents):
            (texts / f"{number:05}.txt").write_text(self.text(100, documents * seed + number), encoding="utf-8")
        recipe = recipe_for((texts,)).model_copy(update={"heldout": 0.0})
        build(recipe, folder / "corpus", self.model.tokenizer)
        return Corpus.open(folder / "corpus")

    def text(self, n: int, seed: int) -> str:
        """A document of so many tokens, in words."""
        return " ".join(f"w{token}" for token in self.tokens(n, seed))

    def tokens(self, n: int, seed: int) -> list[int]:
        """The same in tokens: at random, but that what is said often comes next, pairs recur, and there is a topic."""
        chance = np.random.default_rng([seed, 7])
        says: dict[int, list[int]] = {}
        pairs: dict[int, list[int]] = {}
        for each in self.features:
            if each.says is not None:
                for token in each.reads:
                    says.setdefault(token, []).append(each.says)
            if each.role == "skip":
                pairs.setdefault(each.reads[0], []).append(each.reads[1])
        topic = self.topics[int(chance.integers(len(self.topics)))] if chance.random() < 0.5 else ()
        found: list[int] = []
        for at in range(n):
            last = found[-1] if found else 0
            back = found[at - _BACK] if at >= _BACK else 0
            if back in pairs and chance.random() < 0.5:
                found.append(int(chance.choice(pairs[back])))
            elif last in says and chance.random() < _SURE:
                found.append(int(chance.choice(says[last])))
            elif topic and chance.random() < 0.4:
                found.append(int(chance.choice(topic)))
            elif pairs and chance.random() < 0.05:
                found.append(int(chance.choice(list(pairs))))
            else:
                found.append(int(chance.integers(1, _WORDS)))
        return found


# ---------------------------------------------------------------- what the neurons are


def _drawn(role: Role, number: int, words: Sequence[int], chance: np.random.Generator) -> Planted:
    """Words that are said, and those of pairs, are commoner than others: no neuron but theirs reads them."""
    said, paired, plain = words[:_SAID], words[_SAID : _SAID + _PAIRED], words[_SAID + _PAIRED :]
    some = [int(token) for token in chance.choice(plain, 8, replace=False)]
    pair = [int(token) for token in chance.choice(paired, 2, replace=False)]
    word = int(chance.choice(said))
    match role:
        case "input":
            return Planted(role, (some[0],))
        case "both":
            return Planted(role, (some[0],), word)
        case "output":
            return Planted(role, tuple(some), word)
        case "skip":
            return Planted(role, tuple(pair))
        case "cross":
            return Planted(role, (number % _TOPICS,))
        case "position":
            first = int(chance.integers(1, WINDOW - 1))
            return Planted(role, tuple(range(first, first + int(chance.integers(1, 3)))))
        case "sum":
            return Planted(role, tuple(some[:6]))
        case "random":
            return Planted(role)


class _Parts:
    """Where in the residual the parts lie."""

    token = slice(0, _WIDE)
    position = slice(_WIDE, _WIDE + WINDOW)
    topic = slice(_WIDE + WINDOW, _WIDE + WINDOW + _TOPICS)
    back = slice(_WIDE + WINDOW + _TOPICS, 2 * _WIDE + WINDOW + _TOPICS)
    mean = slice(2 * _WIDE + WINDOW + _TOPICS, 2 * _WIDE + WINDOW + 2 * _TOPICS)
    said = slice(2 * _WIDE + WINDOW + 2 * _TOPICS, 3 * _WIDE + WINDOW + 2 * _TOPICS)
    d_model = 3 * _WIDE + WINDOW + 2 * _TOPICS


def _assembled(features: tuple[Planted, ...], topics: tuple[tuple[int, ...], ...], seed: int) -> Slide:
    generator = torch.Generator().manual_seed(seed)
    d = _Parts.d_model
    tokens, said = (_unit(torch.randn(_WORDS, _WIDE, generator=generator)) for _ in range(2))
    embed, unembed = torch.zeros(_WORDS, d), torch.zeros(_WORDS, d)
    embed[:, _Parts.token], unembed[:, _Parts.said] = tokens, said
    for number, topic in enumerate(topics):
        embed[list(topic), _Parts.topic.start + number] = 1.0
    places = torch.zeros(WINDOW, d)
    places[:, _Parts.position] = torch.eye(WINDOW)
    reads, bias = _reads(features, tokens, generator)
    writes = torch.zeros(len(features), d)
    writes[:, _Parts.said] = _unit(torch.randn(len(features), _WIDE, generator=generator))
    for row, each in enumerate(features):
        if each.says is not None:
            writes[row, _Parts.said] = said[each.says]
    writes *= _LOUD
    # Behind the attention the residual has a length of about √3.2; gains undo the norms, so that reads are as written.
    gain = torch.full((d,), (3.2 / d) ** 0.5)
    block = BlockWeights(
        attn_norm=NormWeights(torch.full((d,), (2.0 / d) ** 0.5), None, 1e-6, False),
        attn=_attention(d),
        attn_post_norm=None,
        mlp_norm=NormWeights(gain, None, 1e-6, False),
        mlp=MlpWeights(gate=None, up=Linear(reads, bias), down=Linear(writes.T.contiguous())),
        mlp_post_norm=None,
    )
    final = NormWeights(torch.ones(d), None, 1e-6, False)
    model = Model(
        "planted", _anatomy(len(features)), Weights(embed, places, (block,), final, Linear(unembed)), _words()
    )
    layer = TranscoderLayer(Encoder(reads, bias, Relu()), writes, torch.zeros(d))
    return Slide(model, PerLayer({Layer(0): layer}), features, topics)


def _reads(
    features: tuple[Planted, ...], tokens: Float[Tensor, "token wide"], generator: torch.Generator
) -> tuple[Float[Tensor, "feature d_model"], Float[Tensor, " feature"]]:
    """What each neuron reads, and what it takes to make it active."""
    reads, bias = torch.zeros(len(features), _Parts.d_model), torch.full((len(features),), -0.6)
    for row, each in enumerate(features):
        match each.role:
            case "skip":
                reads[row, _Parts.back], reads[row, _Parts.token] = tokens[each.reads[0]], tokens[each.reads[1]]
                bias[row] = -1.5
            case "cross":
                reads[row, _Parts.mean.start + each.reads[0]] = 4.0
            case "position":
                reads[row, _Parts.position][list(each.reads)] = 1.0
            case "random":
                reads[row], bias[row] = _random(tokens, generator)
            case _:
                # Dual to the others' embeddings, so that one of many tokens is as strong as one alone.
                some = tokens[list(each.reads)]
                reads[row, _Parts.token] = torch.linalg.pinv(some).sum(1)
    return reads, bias


def _random(tokens: Float[Tensor, "token wide"], generator: torch.Generator) -> tuple[Float[Tensor, " d_model"], float]:
    """A random direction of tokens, here and three back, and of positions; active at about one place in fifty."""
    read = torch.zeros(_Parts.d_model)
    for part in (_Parts.token, _Parts.back):
        read[part] = torch.randn(_WIDE, generator=generator)
    read[_Parts.position] = torch.randn(WINDOW, generator=generator)
    here, back = (tokens[torch.randint(1, _WORDS, (5000,), generator=generator)] for _ in range(2))
    places = read[_Parts.position][torch.randint(1, WINDOW, (5000,), generator=generator)]
    return read, -float((here @ read[_Parts.token] + back @ read[_Parts.back] + places).quantile(0.98))


def _attention(d: int) -> AttentionWeights:
    """Head 0 looks three back and copies the token; head 1 looks everywhere and averages topics."""
    q, k, v, o = (torch.zeros(2 * _WIDE, d) for _ in range(4))
    start = _Parts.position.start
    for at in range(_BACK, WINDOW):
        q[at - _BACK, start + at] = 200.0
    for at in range(WINDOW):
        k[at, start + at] = 1.0
    v[torch.arange(_WIDE), torch.arange(_WIDE)] = 1.0
    v[_WIDE + torch.arange(_TOPICS), _Parts.topic.start + torch.arange(_TOPICS)] = 1.0
    o[torch.arange(_WIDE), _Parts.back.start + torch.arange(_WIDE)] = 1.0
    o[_WIDE + torch.arange(_TOPICS), _Parts.mean.start + torch.arange(_TOPICS)] = 1.0
    return AttentionWeights(Linear(q), Linear(k), Linear(v), Linear(o.T.contiguous()))


def _anatomy(d_mlp: int) -> Anatomy:
    return Anatomy(
        family="planted",
        n_layers=1,
        d_model=_Parts.d_model,
        n_heads=2,
        n_kv_heads=2,
        d_head=_WIDE,
        d_mlp=d_mlp,
        d_vocab=_WORDS,
        context=WINDOW,
        eps=1e-6,
        norm="rms",
        activation=Activation.RELU,
        gated=False,
        parallel=False,
        pre_norm=True,
        post_norm=False,
        qk_norm="none",
        learned_positions=True,
        tied=False,
        attn_bias=False,
        mlp_bias=None,
        attn_scale=1.0,
        attn_cap=None,
        logit_cap=None,
        embed_scale=1.0,
        windows=(None,),
        rotaries=(None,),
    )


def _words() -> Tokenizer:
    backend = Backend(WordLevel({"<s>": 0} | {f"w{i}": i for i in range(1, _WORDS)}, unk_token="<s>"))
    backend.pre_tokenizer = WhitespaceSplit()
    front = BosPolicy((TokenId(0),), "checkpoint")
    return Tokenizer("planted", backend, bos=front, ends=front.ids, context=WINDOW, d_vocab=_WORDS, whole=_no_whole)


def _no_whole() -> NoReturn:
    raise UnsupportedError("A planted model has words and nothing else.")


def _unit(rows: Float[Tensor, "row wide"]) -> Float[Tensor, "row wide"]:
    return rows / rows.square().sum(1, keepdim=True).sqrt()
