"""An atlas as two tables: one row for each feature, and one for each example."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeAlias, cast, runtime_checkable

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.rendered import Words
from micrographia.atlas.feature import Examples, Feature
from micrographia.errors import CallError
from micrographia.model.tokens import Tokenizer
from micrographia.store import Progress

__all__ = ["write_parquet"]

_Row: TypeAlias = dict[str, object]

_FEATURE = {
    **dict.fromkeys(("layer", "index", "count", "negative"), "int64"),
    **dict.fromkeys(("density", "mean", "deviation", "largest"), "double"),
    "histogram": "list int64",
    "edges": "list double",
    **dict.fromkeys(("promoted_tokens", "suppressed_tokens"), "list string"),
    **dict.fromkeys(("promoted_cosines", "promoted_logits", "suppressed_cosines", "suppressed_logits"), "list double"),
}
_EXAMPLE = {
    **dict.fromkeys(("layer", "index", "decile", "document", "source", "place", "at"), "int64"),
    "kind": "string",
    "activation": "double",
    "tokens": "list string",
    "ids": "list int64",
    "activations": "list double",
}


@runtime_checkable
class _Arrow(Protocol):
    """What is used of pyarrow."""

    @property
    def Table(self) -> "_Tables": ...  # noqa: N802
    def schema(self, fields: Sequence[tuple[str, object]], /) -> object: ...
    def list_(self, of: object, /) -> object: ...
    def type_for_alias(self, name: str, /) -> object: ...


@runtime_checkable
class _Tables(Protocol):
    def from_pylist(self, rows: Sequence[Mapping[str, object]], schema: object, /) -> object: ...


@runtime_checkable
class _Writer(Protocol):
    """What is used of pyarrow's `ParquetWriter`."""

    def write_table(self, table: object, /) -> None: ...
    def close(self) -> None: ...


def write_parquet(atlas: Atlas, tokenizer: Tokenizer, folder: Path, progress: Progress) -> None:
    """`features.parquet` and `examples.parquet`, with a row group for each layer."""
    if find_spec("pyarrow") is None:
        raise CallError("Writing Parquet needs pyarrow, which is not installed: pip install 'micrographia[parquet]'")
    words = Words(tokenizer)
    _write(atlas, folder / "features.parquet", _FEATURE, lambda feature: _features(feature, words), progress)
    _write(atlas, folder / "examples.parquet", _EXAMPLE, lambda feature: _examples(feature, words), progress)


def _write(
    atlas: Atlas,
    path: Path,
    columns: Mapping[str, str],
    rows: Callable[[Feature], Iterator[_Row]],
    progress: Progress,
) -> None:
    arrow = cast("_Arrow", import_module("pyarrow"))
    opened = cast("Callable[[Path, object], _Writer]", import_module("pyarrow.parquet").ParquetWriter)
    schema = arrow.schema([(name, _type(arrow, said)) for name, said in columns.items()])
    writer = opened(path, schema)
    try:
        for number, layer in enumerate(atlas.layers):
            progress(f"exporting {path.stem}", number, len(atlas.layers))
            features = (atlas.feature(layer, index) for index in range(atlas.n_features(layer)))
            writer.write_table(arrow.Table.from_pylist([row for each in features for row in rows(each)], schema))
    finally:
        writer.close()
    progress(f"exporting {path.stem}", len(atlas.layers), len(atlas.layers))


def _type(arrow: _Arrow, said: str) -> object:
    *lists, name = said.split()
    found = arrow.type_for_alias(name)
    return arrow.list_(found) if lists else found


def _features(feature: Feature, words: Words) -> Iterator[_Row]:
    yield {
        "layer": feature.layer,
        "index": feature.index,
        "count": feature.count,
        "density": feature.density,
        "mean": feature.mean,
        "deviation": feature.deviation,
        "largest": feature.largest,
        "negative": feature.negative,
        "histogram": feature.histogram.tolist(),
        "edges": feature.edges.tolist(),
        **{
            f"{side}_{name}": column
            for side, said in (("promoted", feature.promoted), ("suppressed", feature.suppressed))
            for name, column in (
                ("tokens", words.said(said)),
                ("cosines", [each.cosine for each in said]),
                ("logits", [each.logit for each in said]),
            )
        },
    }


def _examples(feature: Feature, words: Words) -> Iterator[_Row]:
    several: tuple[tuple[str, Examples], ...] = (("strongest", feature.strongest), ("sample", feature.sample))
    for kind, examples in several:
        for example in examples:
            yield {
                "layer": feature.layer,
                "index": feature.index,
                "kind": kind,
                "activation": example.activation,
                "decile": feature.decile(example.activation) + 1,
                "document": example.document,
                "source": example.source,
                "place": example.place,
                "at": example.at,
                "tokens": words.tokens(example),
                "ids": list(example.tokens),
                "activations": list(example.activations),
            }
