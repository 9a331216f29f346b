"""What remains of an activation is what whole runs leave of it, and only what should be replaced is."""

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import watches_of
from micrographia.atlas.watch import Watch
from micrographia.bases.transcoder import PerLayer
from micrographia.ids import Layer, TokenId
from micrographia.labels.crowd import Crowd
from micrographia.labels.edits import _activations, _pair, remains
from micrographia.labels.exam import Exam
from micrographia.labels.halves import Halves
from micrographia.labels.rules import Condition, Where
from micrographia.labels.vocabulary import Vocabulary
from micrographia.labels.walk import Branch, Walk
from micrographia.model.model import Model

LAYER = Layer(2)
RANDOM = 8


@pytest.fixture(scope="module")
def vocabulary(llama: Model, atlas: Atlas) -> Vocabulary:
    return Vocabulary.of(llama, atlas.text, 0)


@pytest.fixture(scope="module")
def watch(atlas: Atlas, basis: PerLayer, llama: Model) -> Watch:
    return watches_of([atlas.layer(LAYER).plan], basis, llama)[0]


@pytest.fixture(scope="module")
def tried(atlas: Atlas, basis: PerLayer, llama: Model, watch: Watch, vocabulary: Vocabulary):
    """A crowd over some text, the exam of it, and the walk behind the block of its features."""
    halves = Halves(atlas.text, 0)
    walk = Walk(llama, halves.reading(100, 200), 4)
    while walk.layer < LAYER:
        walk.step(lambda *_: None, watch.site)
    crowd = Crowd.of(walk, watch, atlas.layer(LAYER), basis, RANDOM, 0)
    return crowd, Exam(crowd, walk.reading, vocabulary, 0), walk


def slow(branch: Branch, feature: int, walk: Walk, basis: PerLayer) -> float:
    """What a whole run of the changed text says."""
    ids = [*walk.reading.ids[branch.window, : branch.first].tolist(), *branch.ids]
    prompt = walk.model.tokenizer.from_ids([TokenId(token) for token in ids])
    act = walk.model.run(prompt, read=f"mlp_in.{LAYER}")[f"mlp_in.{LAYER}"][0, branch.last]
    return float(basis.layers[LAYER].encoder(act[None])[0, feature])


def test_activations_are_those_of_whole_runs(tried, watch: Watch, basis: PerLayer) -> None:
    _, _, walk = tried
    chance, length = np.random.default_rng(0), walk.reading.ids.shape[1]
    branches: list[Branch] = []
    for _ in range(60):
        last, n = int(chance.integers(4, length)), int(chance.integers(1, 4))
        branches.append(Branch(int(chance.choice(walk.branching)), last, tuple(chance.integers(2, 80, n).tolist())))
    who = chance.integers(0, watch.n_features, len(branches))
    found = _activations(walk, watch, branches, who)
    wanted = [slow(branch, one, walk, basis) for branch, one in zip(branches, who.tolist(), strict=True)]
    assert 5 < np.count_nonzero(wanted) < len(wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("offsets", [(0,), (-1,), (-3, 0), (-4, -3)])
def test_what_the_rule_names_is_replaced_and_then_one_other_token(
    tried, vocabulary: Vocabulary, offsets: tuple[int, ...]
) -> None:
    _, exam, walk = tried
    rule = Where(tuple(Condition(offset, tuple(range(30))) for offset in offsets))
    chance, seen = np.random.default_rng(0), 0
    for row in exam.rows[exam.score(rule) > 0].tolist():
        window, position = divmod(row, walk.reading.per_window)
        ids, at = walk.reading.ids[window].tolist(), position + 1
        pair = _pair(row, rule, walk, vocabulary, exam, chance)
        if not pair:
            continue
        changed = [
            {i - at: new for i, new in enumerate((*ids[: each.first], *each.ids)) if new != ids[i]} for each in pair
        ]
        assert [each.last for each in pair] == [at, at]
        assert set(changed[0]) == set(offsets)
        assert all(token >= 30 for token in changed[0].values())
        ((other,),) = [tuple(changed[1])]
        assert other not in offsets
        assert at + other > 0
        seen += 1
    assert seen > 3


def test_of_a_rule_that_names_what_it_reads_less_remains(tried, watch: Watch, vocabulary: Vocabulary) -> None:
    crowd, exam, walk = tried
    common = max(range(crowd.n_features), key=lambda one: len(exam.active(one)[0]))
    index, _ = exam.active(common)
    rule = Where((Condition(0, tuple(np.unique(exam.tokens(0)[index]).tolist())),))
    found = remains({common: rule}, crowd, exam, walk, watch, vocabulary, 30, 0)[common]
    assert 3 < found.n <= 30
    assert 0 <= found.named < found.other <= 1
    assert remains({}, crowd, exam, walk, watch, vocabulary, 4, 0) == {}
