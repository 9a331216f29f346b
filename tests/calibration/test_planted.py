"""Planted neurons are active where they were made to be, and the model is what its transcoder says."""

import torch

from micrographia.calibration.planted import ROLES, WINDOW, Slide
from micrographia.ids import TokenId

COUNTS = dict.fromkeys(ROLES, 6)


def windows(slide: Slide, n: int) -> list[list[int]]:
    return [[0, *slide.tokens(WINDOW - 1, seed)] for seed in range(n)]


def test_neurons_are_active_where_their_role_says() -> None:
    slide = Slide.of(COUNTS)
    texts = windows(slide, 250)
    run = slide.model.run([slide.model.tokenizer.from_ids([TokenId(t) for t in ids]) for ids in texts], read="post.0")
    active = run["post.0"] > 0
    right = {role: [0, 0] for role in ROLES}
    for index, each in enumerate(slide.features):
        for row, ids in enumerate(texts):
            for at in range(4, WINDOW):
                match each.role:
                    case "input" | "both" | "output" | "sum":
                        wanted = ids[at] in each.reads
                    case "skip":
                        wanted = (ids[at - 3], ids[at]) == each.reads
                    case "position":
                        wanted = at in each.reads
                    case "cross":
                        topic = slide.topics[each.reads[0]]
                        wanted = sum(token in topic for token in ids[: at + 1]) / (at + 1) > 0.15
                    case "random":
                        continue
                is_on = bool(active[row, at, index])
                right[each.role][0] += wanted and is_on
                right[each.role][1] += wanted or is_on
    for role, (both, either) in right.items():
        if role != "random":
            assert either > 20, role
            assert both / either > (0.8 if role == "cross" else 0.93), (role, both, either)


def test_the_transcoder_is_the_mlp_and_words_that_are_said_come() -> None:
    slide = Slide.of(COUNTS)
    texts = windows(slide, 80)
    prompts = [slide.model.tokenizer.from_ids([TokenId(t) for t in ids]) for ids in texts]
    run = slide.model.run(prompts, read=["mlp_in.0", "mlp_out.0"])
    layer = next(iter(slide.basis.layers.values()))
    torch.testing.assert_close(layer(run["mlp_in.0"].flatten(0, 1)), run["mlp_out.0"].flatten(0, 1))
    says = {token: each.says for each in slide.features if each.role == "both" for token in each.reads}
    guesses = run.logits.argmax(-1)
    found = [
        guesses[row, at] == says[ids[at]] for row, ids in enumerate(texts) for at in range(4, WINDOW) if ids[at] in says
    ]
    assert len(found) > 5
    assert sum(map(bool, found)) / len(found) > 0.7


def test_text_is_the_same_for_the_same_seed() -> None:
    slide = Slide.of(COUNTS)
    assert slide.text(50, 3) == slide.text(50, 3) != slide.text(50, 4)
    assert slide.model.tokenizer.encode(slide.text(50, 3)) == slide.tokens(50, 3)
