"""Hashes tell models apart."""

from dataclasses import replace

from micrographia.bases.evaluation.provenance import versions, weights_sha256


def test_any_changed_weight_changes_the_hash(tiny) -> None:
    weights = tiny("llama").weights
    before = weights_sha256(weights)
    assert weights_sha256(weights) == before
    last = weights.blocks[-1].mlp.down.weight
    changed = last.clone()
    changed[0, 0] += 1e-12
    mlp = replace(weights.blocks[-1].mlp, down=replace(weights.blocks[-1].mlp.down, weight=changed))
    other = replace(weights, blocks=(*weights.blocks[:-1], replace(weights.blocks[-1], mlp=mlp)))
    assert weights_sha256(other) != before
    assert weights_sha256(tiny("gpt2").weights) != before


def test_versions_are_of_what_computes() -> None:
    assert set(versions()) == {"micrographia", "torch"}
    assert all(versions().values())
