"""The atlas that comes along is whole, and of the transcoders that come along."""

import micrographia as mg
from micrographia.atlas.atlas import BESIDE, Atlas
from micrographia.bases.named import shipped_folder


def test_the_atlas_that_comes_along_is_of_the_transcoders_that_do() -> None:
    folder = shipped_folder()
    assert folder is not None
    atlas = Atlas.open(folder / BESIDE)
    atlas.verify()
    scope = mg.open(basis="transcoders")
    atlas.check(scope.model, scope.basis)
    feature = atlas.feature(25, 80)
    said = [scope.model.tokenizer.piece(each.token) for each in feature.promoted]
    assert "␣languages" in said
    assert any("speak" in scope.model.tokenizer.decode(each.tokens) for each in feature.strongest)
