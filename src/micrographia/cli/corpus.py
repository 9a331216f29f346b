"""`micrographia corpus`: build a corpus, look at one, print the recipe to start from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.corpus.manifest import CorpusManifest
    from micrographia.corpus.recipe import Recipe
    from micrographia.model.model import Model

__all__ = ["build", "corpus", "recipe", "show"]

_SHOWN = 300

corpus = App(name="corpus", help="Build a corpus of token ids, look at one, or print the recipe to start from.")


@corpus.command
def build(
    sources: Annotated[tuple[Path, ...], Parameter(help="One recipe (.toml), or text files, folders, .jsonl.")] = (),
    /,
    *,
    out: Annotated[Path, Parameter(help="The folder that the corpus will be.")],
    field: Annotated[
        str, Parameter(help="The field of .jsonl and the column of .parquet that holds the text.")
    ] = "text",
    tokens: Annotated[
        int | None, Parameter(validator=validators.Number(gte=1), help="How many tokens the sources' shares divide.")
    ] = None,
    heldout: Annotated[
        float | None, Parameter(validator=validators.Number(gte=0, lt=1), help="The part that is held out.")
    ] = None,
    packages: Annotated[Path | None, Parameter(help="A folder with wheels to read packages from.")] = None,
    workers: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How many threads tokenise; changes no byte.")
    ] = 2,
    json: Annotated[bool, Parameter(help="Print the manifest as JSON.", negative="")] = False,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Turn text into a folder of token ids, split into train and held-out documents, without duplicates.

    Without sources the default recipe is built, from packages by name. A build that was interrupted goes on when the
    same command is given again.

        micrographia corpus build --out corpus
        micrographia corpus build book.txt notes/ --out corpus
        micrographia corpus build recipe.toml --out corpus
    """
    from micrographia.corpus.build import build as build_corpus
    from micrographia.corpus.recipe import recipe_of
    from micrographia.model.checkpoint import locate
    from micrographia.model.tokens import Tokenizer

    chosen = _recipe(sources, field)
    changes = {"tokens": tokens, "heldout": heldout}
    given = {key: value for key, value in changes.items() if value is not None}
    chosen = recipe_of(chosen.model_dump() | given, "With these options this")
    with progress() as report:
        tokenizer = Tokenizer.load(locate(model_options.model, progress=report))
        manifest = build_corpus(
            chosen,
            out,
            tokenizer,
            model=lambda: _model(model_options),
            packages=() if packages is None else (packages,),
            workers=workers,
            progress=report,
        )
    if json:
        print_json(_content(out, manifest))
    else:
        _print(out, manifest)


@corpus.command
def show(
    folder: Annotated[Path, Parameter(help="The corpus.")],
    /,
    *,
    sample: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="How many documents of each split to show.")
    ] = 0,
    verify: Annotated[bool, Parameter(help="Compare the SHA-256 of every file too.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print the manifest as JSON.", negative="")] = False,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Say what a corpus holds, from which sources, under which licences.

    It counts what each source lost on the way: duplicates, texts that are nearly alike, and empty ones.

        micrographia corpus show corpus --sample 3
    """
    from micrographia.corpus.corpus import Corpus
    from micrographia.corpus.manifest import SPLITS
    from micrographia.model.checkpoint import locate
    from micrographia.model.tokens import Tokenizer

    opened = Corpus.open(folder)
    if verify:
        with progress() as report:
            opened.verify(report)
    samples: list[dict[str, object]] = []
    if sample:
        tokenizer = Tokenizer.load(locate(model_options.model))
        opened.check_tokenizer(tokenizer)
        samples = [
            {"split": split, "source": found.source, "name": found.name, "text": tokenizer.decode(found.ids.tolist())}
            for split in SPLITS
            for found in opened.sample(split, sample)
        ]
    if json:
        print_json({**_content(folder, opened.manifest), "samples": samples})
        return
    _print(folder, opened.manifest)
    console = results()
    for found in samples:
        text = str(found["text"])
        more = f" … and {len(text) - _SHOWN:,} more characters" if len(text) > _SHOWN else ""
        console.print(Text("\n{split}: {source}, {name}".format_map(found), style="bold"))
        console.print(Text.assemble(text[:_SHOWN], (more, "dim")))


@corpus.command
def recipe() -> None:
    """Print the default recipe as TOML, to change and to build from.

    `corpus build` without sources builds it as it is.

        micrographia corpus recipe > recipe.toml
    """
    from micrographia.corpus.recipe import default_recipe, to_toml

    results().out(to_toml(default_recipe()), end="")


def _recipe(sources: tuple[Path, ...], field: str) -> "Recipe":
    from micrographia.corpus.recipe import default_recipe, load_recipe, recipe_for

    if not sources:
        return default_recipe()
    recipes = [path for path in sources if path.suffix == ".toml"]
    if recipes and len(sources) > 1:
        raise CallError(f"Give one recipe or several texts, not both: {recipes[0]} stands among {len(sources)} paths.")
    return load_recipe(recipes[0]) if recipes else recipe_for(sources, field=field)


def _model(options: ModelOptions) -> "Model":
    return options.open().model


def _content(folder: Path, manifest: "CorpusManifest") -> dict[str, object]:
    return {"folder": str(folder), **manifest.model_dump(mode="json")}


def _print(folder: Path, manifest: "CorpusManifest") -> None:
    console = results()
    console.print(_table(manifest))
    console.print()
    for source in manifest.sources:
        console.print(Text(f"{source.name}: {source.licence}", style="dim"))
    size = sum(shard.file.size for shard in manifest.shards)
    train, heldout = manifest.tally("train"), manifest.tally("heldout")
    console.print(
        f"{folder}: {train.tokens:,} tokens to train on, {heldout.tokens:,} held out, in the tokens of "
        f"{manifest.plan.tokenizer.name}; {len(manifest.shards)} files, {_readable(size)}."
    )


def _table(manifest: "CorpusManifest") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("source", style="cyan", no_wrap=True)
    for name in ("documents", "train", "held out", "duplicates", "nearly", "empty", "replaced"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("version", no_wrap=True, style="dim")
    for source in manifest.sources:
        figures = (
            source.train.documents + source.heldout.documents,
            source.train.tokens,
            source.heldout.tokens,
            source.duplicates,
            source.near_duplicates,
            source.empty,
            source.replaced,
        )
        table.add_row(source.name, *(f"{figure:,}" for figure in figures), source.version)
    return table


def _readable(size: int) -> str:
    from micrographia.store import readable_size

    return readable_size(size)
