import tomllib
from pathlib import Path

import pytest

from micrographia.corpus.recipe import (
    JsonLines,
    OnPolicy,
    Parquet,
    Recipe,
    StandardLibrary,
    TextFiles,
    default_recipe,
    load_recipe,
    recipe_for,
    recipe_of,
    to_toml,
)
from micrographia.errors import CallError


def with_shares(*shares: float | None, tokens: int | None = 1000) -> Recipe:
    sources = [{"kind": "stdlib", "name": f"s{i}", "share": share} for i, share in enumerate(shares)]
    return recipe_of({"sources": sources, "tokens": tokens}, "this")


def test_a_recipe_comes_back_from_its_toml() -> None:
    recipe = Recipe(
        sources=(
            StandardLibrary(name="python", share=0.5, licence='PSF "2.0"'),
            OnPolicy(name="own", documents=3, openings=("a\n", "é\\")),
        ),
        tokens=5000,
        near_duplicates=False,
        bos=7,
    )
    assert recipe_of(tomllib.loads(to_toml(recipe)), "x") == recipe
    assert recipe_of(tomllib.loads(to_toml(default_recipe())), "x") == default_recipe()


def test_every_source_of_the_default_recipe_states_its_licence_and_is_pinned() -> None:
    for source in default_recipe().sources:
        assert source.licence != "not stated"
        assert source.kind == "stdlib" or (
            source.kind == "package" and source.version and len(source.sha256 or "") == 64
        )


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[[sources]]\nkind = "text"\nname = "a"\npath = "texts"\n')
    (source,) = load_recipe(tmp_path / "r.toml").sources
    assert isinstance(source, TextFiles)
    assert source.path == tmp_path / "texts"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"sources = [", "is not TOML: Invalid value"),
        (b"\xff", "cannot be read: 'utf-8' codec"),
        (b"", "sources: Field required"),
        (b"sources = []", "sources: Tuple should have at least 1 item"),
        (b'[[sources]]\nkind = "text"\nname = "a"\npath = "x"\ncolour = 1\n', r"sources\.0\.colour: Extra inputs"),
        (b'[[sources]]\nkind = "web"\nname = "a"\n', r"sources\.0: .*'web'.*'text', 'jsonl', 'parquet'"),
        (b'tokens = 0\n[[sources]]\nkind = "stdlib"\nname = "a"\n', "tokens: Input should be greater than 0"),
        (b'[[sources]]\nkind = "stdlib"\nname = ""\n', r"sources\.0\.name: String should have at least 1"),
        (b'longest = 5\n[[sources]]\nkind = "stdlib"\nname = "a"\n', "longest: Input should be greater than or equal"),
        (b'[[sources]]\nkind = "stdlib"\nname = "a"\nshare = nan\n', "share: Input should be"),
    ],
)
def test_a_recipe_that_is_not_understood_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(CallError, match=said):
        load_recipe(tmp_path / "r.toml")


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"There is no recipe .*r\.toml'\. 'micrographia corpus recipe' prints one"):
        load_recipe(tmp_path / "r.toml")


def test_shares_divide_the_tokens_and_limits_bound_them() -> None:
    recipe = with_shares(3, None, 0)
    assert [recipe.budget(i) for i in range(3)] == [750, 250, 0]
    limited = Recipe(sources=(StandardLibrary(name="a", limit=100), StandardLibrary(name="b")))
    assert (limited.budget(0), limited.budget(1)) == (100, None)


def test_shares_that_cannot_divide_anything_are_refused() -> None:
    with pytest.raises(CallError, match="this is not a recipe: the shares sum to nothing"):
        with_shares(0, 0)
    with pytest.raises(CallError, match=r"shares divide a number of tokens, and none is given; write e\.g\. tokens"):
        with_shares(1, 2, tokens=None)


def test_two_sources_of_one_name_are_refused() -> None:
    twice = {"kind": "stdlib", "name": "a"}
    with pytest.raises(CallError, match="two sources are called 'a'"):
        recipe_of({"sources": [twice, twice]}, "this")


def test_files_are_read_by_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / name for name in ("a.jsonl", "b.ndjson.gz", "c.parquet", "d.txt", "folder")]
    one, two, three, four, five = recipe_for(paths, field="body").sources
    assert one == JsonLines(name="a.jsonl", path=paths[0], field="body")
    assert isinstance(two, JsonLines)
    assert three == Parquet(name="c.parquet", path=paths[2], column="body")
    assert four == TextFiles(name="d.txt", path=paths[3], keep_together=False)
    assert five == TextFiles(name="folder", path=paths[4])


def test_files_of_one_name_are_told_apart() -> None:
    names = [source.name for source in recipe_for([Path("a/x.txt"), Path("b/x.txt"), Path(".")]).sources]
    assert len(set(names)) == 3
