import json
from pathlib import Path

import pytest

from micrographia.corpus.build import build
from micrographia.corpus.manifest import CorpusManifest, Tally, read_manifest
from micrographia.errors import CacheError, CallError
from micrographia.model.tokens import Tokenizer
from tests.corpus.bytewise import folder_recipe, story, write_files


@pytest.fixture
def built(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    texts = write_files(tmp_path / "texts", (story(number) for number in range(9)))
    build(folder_recipe(texts), tmp_path / "c", tokenizer, shard_tokens=1000)
    return tmp_path / "c"


def test_a_manifest_adds_up(built: Path) -> None:
    manifest = read_manifest(built)
    (source,) = manifest.sources
    for split in ("train", "heldout"):
        assert manifest.tally(split) == source.tally(split)
    assert len(manifest.shards) > 1
    assert Tally().plus(7).plus(0) == Tally(documents=2, tokens=7)


def test_a_manifest_holds_what_one_needs_to_trust_it(built: Path) -> None:
    content = json.loads((built / "manifest.json").read_text())
    assert content["plan"]["tokenizer"]["front"] == [0]
    assert len(content["plan"]["tokenizer"]["sha256"]) == len(content["sources"][0]["sha256"]) == 64
    assert content["sources"][0]["licence"] == "not stated"
    assert {shard["file"]["name"] for shard in content["shards"]} == {path.name for path in built.glob("shard-*")}
    assert CorpusManifest.model_validate(content) == read_manifest(built)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"schema_version": 2}, CacheError, "schema version 2, and this Micrographia reads version 1"),
        ({"kind": "model"}, CallError, "is not a corpus, but of the kind 'model'"),
        ({"colour": "red"}, CacheError, "colour: Extra inputs are not permitted"),
        ({"shards": [{}]}, CacheError, r"shards\.0\.file: Field required"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused_by_name(
    built: Path, change: dict[str, object], kind: type[Exception], said: str
) -> None:
    path = built / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(kind, match=said):
        read_manifest(built)


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"nowhere' is not a corpus: there is no such folder\. Build one: micrographia"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(CallError, match=r"it has no manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"{")
    with pytest.raises(CacheError, match=r"manifest\.json cannot be read: Expecting"):
        read_manifest(tmp_path)
