"""`micrographia atlas`: build an atlas, ask it, and exchange it with other tools."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console

from micrographia.cli.options import ModelOptions, PromptOptions, read_text
from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from types import FrameType

    from micrographia.atlas.atlas import Atlas
    from micrographia.atlas.plan import AtlasConfig, AtlasManifest
    from micrographia.model.tokens import Tokenizer

__all__ = [
    "AtlasChoices",
    "atlas",
    "basis_of",
    "build",
    "export",
    "find",
    "import_cache",
    "open_atlas",
    "place_of",
    "show",
    "thin",
    "tokenizer_of",
    "told_to_stop_by_ctrl_c",
]

_POSITIVE = validators.Number(gte=1)
_SEVERAL = validators.Number(gte=2)
_NATURAL = validators.Number(gte=0)
_WIDTH = 80

atlas = App(name="atlas", help="What each feature does over a corpus: build an atlas, ask it, exchange it.")

_Atlas = Annotated[
    Path | None,
    Parameter(name="--atlas", help="An atlas, or a basis with one in it. Default: that of the transcoders here."),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class AtlasChoices:
    """What is read and how much is kept; what is left out is as `AtlasConfig` says, or as it is in a larger atlas."""

    tokens: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions of text that are read.")] = None
    split: Annotated[Literal["train", "heldout"] | None, Parameter(help="Which part of the corpus.")] = None
    window: Annotated[int | None, Parameter(validator=_SEVERAL, help="Tokens that the model sees at a time.")] = None
    block: Annotated[int | None, Parameter(validator=_POSITIVE, help="Windows that are read together.")] = None
    strongest: Annotated[int | None, Parameter(validator=_POSITIVE, help="Strongest places kept per feature.")] = None
    sample: Annotated[int | None, Parameter(validator=_POSITIVE, help="Random places kept per feature.")] = None
    before: Annotated[int | None, Parameter(validator=_NATURAL, help="Tokens before a place kept with it.")] = None
    after: Annotated[int | None, Parameter(validator=_NATURAL, help="Tokens behind a place kept with it.")] = None
    promoted: Annotated[int | None, Parameter(validator=_POSITIVE, help="Promoted tokens kept per feature.")] = None
    seed: Annotated[int | None, Parameter(help="Decides which text is read, and the random places.")] = None

    def config(self, base: "AtlasConfig | None" = None) -> "AtlasConfig":
        """These choices, and where nothing is said those of another atlas, or the defaults."""
        from micrographia.atlas.plan import AtlasConfig

        said = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {key: value for key, value in said.items() if value is not None}
        return AtlasConfig.model_validate(({} if base is None else base.model_dump()) | given)


@atlas.command
def build(
    basis: Annotated[str, Parameter(help="A folder of any tool's transcoders, 'transcoders', or 'neurons'.")],
    /,
    *,
    corpus: Annotated[Path, Parameter(help="The corpus to read; see 'micrographia corpus build'.")],
    out: Annotated[Path | None, Parameter(help="The folder to make. Default: 'atlas' in the basis's.")] = None,
    workers: Annotated[
        int | None,
        Parameter(validator=_POSITIVE, help="Processes that read; changes no byte. Default: one for each core, to 4."),
    ] = None,
    json: Annotated[bool, Parameter(help="Print the manifest as JSON.", negative="")] = False,
    choices: AtlasChoices = AtlasChoices(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Read text, and keep of every feature: counts, a histogram, its strongest places, a random sample, logit effects.

    Stopped by Ctrl-C or killed, the same command goes on. Without --dtype the model is read in bfloat16 where that is
    faster. Without other choices: 1,000,000 positions of the train split, in windows of 256 tokens, 16 read together;
    of each feature 16 strongest places and 64 random ones, 11 tokens before them and 4 behind, and 20 promoted tokens.

        micrographia atlas build transcoders/ --corpus corpus --workers 2
        micrographia atlas build neurons --corpus corpus --out neurons-atlas --tokens 200000
    """
    from micrographia.atlas.build import build_atlas
    from micrographia.bases.formats.writing import refuse_taken
    from micrographia.corpus.corpus import Corpus

    config = choices.config()
    folder = _destination(basis, out)
    refuse_taken(folder)
    text = Corpus.open(corpus)
    scope = replace(model_options, dtype=_dtype(model_options, folder)).open(basis)
    n_workers = workers or (min(_cores(), 4) if scope.model.device.type == "cpu" else 1)
    with told_to_stop_by_ctrl_c() as stopped, progress() as report:
        manifest = build_atlas(
            scope.model,
            scope.basis,
            text,
            folder,
            name=Path(basis).resolve().name,
            config=config,
            workers=n_workers,
            stopped=stopped,
            progress=report,
        )
    if manifest is None:
        results().print("Stopped; what is done is kept. Go on: the same command.")
        sys.exit(130)
    if json:
        print_json({"folder": str(folder), **manifest.model_dump(mode="json")})
    else:
        _print_manifest(results(), folder, manifest)


@atlas.command
def show(
    feature: Annotated[str | None, Parameter(help="LAYER/FEATURE, such as 12/345. Left out: the whole.")] = None,
    /,
    *,
    folder: _Atlas = None,
    strongest: Annotated[int, Parameter(validator=_NATURAL, help="Strongest places to show.")] = 8,
    per_decile: Annotated[int, Parameter(validator=_NATURAL, help="Places to show of each tenth.")] = 2,
    verify: Annotated[bool, Parameter(help="Compare the SHA-256 of every file first.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print it as JSON.", negative="")] = False,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Show one feature: how often it fires and how strongly, where, beside which tokens, and what it promotes.

    Left out, the feature's place is taken by what the atlas says of itself: its basis, its text, its size.

        micrographia atlas show 12/345
        micrographia atlas show --verify --atlas transcoders/
    """
    opened = open_atlas(folder)
    if verify:
        with progress() as report:
            opened.verify(report)
    if feature is None:
        if json:
            print_json({"folder": str(opened.folder), **opened.manifest.model_dump(mode="json")})
        else:
            _print_manifest(results(), opened.folder, opened.manifest)
        return
    from micrographia.cli.features import feature_content, feature_page

    found = opened.feature(*place_of(feature))
    tokenizer = tokenizer_of(opened, model_options)
    if json:
        print_json(feature_content(found, opened, tokenizer))
        return
    console = results()
    console.print(
        feature_page(
            found,
            opened,
            tokenizer,
            _width(console),
            label=_label(opened, *place_of(feature)),
            strongest=strongest,
            per_decile=per_decile,
            marked=console.color_system is None,
        )
    )


@atlas.command
def find(
    text: Annotated[str | None, Parameter(help="The text whose features are looked for.")] = None,
    /,
    *,
    promotes: Annotated[str | None, Parameter(help='The features that promote this token, such as " Asia".')] = None,
    file: Annotated[Path | None, Parameter(help="Read the text from a file: code, a drawing in characters.")] = None,
    basis: Annotated[
        str | None, Parameter(help="The basis of the atlas. Default: the folder it lies in, or those here.")
    ] = None,
    folder: _Atlas = None,
    by: Annotated[
        Literal["peak", "spread"], Parameter(help="What comes first: a rare strong firing, or one that is everywhere.")
    ] = "peak",
    layers: Annotated[tuple[int, ...], Parameter(help="Only these layers.", negative="", consume_multiple=True)] = (),
    top: Annotated[int, Parameter(validator=_POSITIVE, help="How many features to show.")] = 20,
    json: Annotated[bool, Parameter(help="Print them as JSON.", negative="")] = False,
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Find the features that a text makes fire, where, and how much more than other text does; or by what they promote.

    Both figures, peak and spread, are bits: how rare it is in the atlas's text that a feature fires so strongly, or at
    so many places.

        micrographia atlas find "The Eiffel Tower is in"
        micrographia atlas find --file drawing.svg --by spread
        micrographia atlas find --promotes " Asia"
    """
    from micrographia.cli.features import firing_content, firing_table, promoting_content, promoting_table

    if [text, promotes, file].count(None) != 2:
        raise CallError("Give one of three: a text, --file FILE, or --promotes TOKEN.")
    opened = open_atlas(folder)
    if promotes is not None:
        from micrographia.atlas.find import promotes as that_promote

        tokenizer = tokenizer_of(opened, model_options)
        found = that_promote(opened, tokenizer.token(promotes), top=top)
        if json:
            print_json({"features": [promoting_content(each, opened, tokenizer) for each in found]})
        else:
            results().print(promoting_table(found, opened, tokenizer))
        return
    from micrographia.atlas.find import fires_on

    said = read_text(file) if file is not None else text or ""
    scope = model_options.open(basis or basis_of(opened))
    tokens = prompt_options.read(scope, said)
    firings = fires_on(opened, scope.model, scope.basis, tokens, by=by, top=top, layers=layers)
    if json:
        print_json({"features": [firing_content(each, tokens, opened, scope.model.tokenizer) for each in firings]})
    else:
        results().print(firing_table(firings, tokens, opened, scope.model.tokenizer))


@atlas.command
def export(
    out: Annotated[Path, Parameter(help="The folder to make.")],
    /,
    *,
    to: Annotated[Literal["circuit-tracer", "neuronpedia", "parquet"], Parameter(help="Whose files to write.")],
    folder: _Atlas = None,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Write an atlas as another tool's feature files.

    Of the model only the tokenizer is opened.

        micrographia atlas export pages --to circuit-tracer
    """
    from micrographia.atlas.exchange.export import export_atlas

    opened = open_atlas(folder)
    with progress() as report:
        export_atlas(opened, tokenizer_of(opened, model_options), to, out, report)
    results().print(inert(f"Written: {out}"))


@atlas.command
def thin(
    out: Annotated[Path, Parameter(help="The folder to make.")],
    /,
    *,
    folder: _Atlas = None,
    choices: AtlasChoices = AtlasChoices(),
) -> None:
    """Make a smaller atlas of a larger one: what building it with smaller choices would give.

    What is left out stays as it is; what is read cannot be changed.

        micrographia atlas thin small --strongest 4 --sample 8 --before 0 --after 0 --promoted 5
    """
    from micrographia.atlas.thin import thin as thinned

    opened = open_atlas(folder)
    manifest = thinned(opened, out, choices.config(opened.manifest.plan.config))
    _print_manifest(results(), out, manifest)


@atlas.command(name="import")
def import_cache(
    cache: Annotated[Path, Parameter(help="A cache of delphi: the folder that holds one folder per module.")],
    /,
    *,
    basis: Annotated[str, Parameter(help="The basis that the cache was made with.")],
    out: Annotated[Path, Parameter(help="The folder to make.")],
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Make an atlas of a cache that delphi has written.

    Its tokens must have been saved with it.

        micrographia atlas import results/cache --basis transcoders/ --out atlas
    """
    from micrographia.atlas.exchange.delphi import import_delphi

    scope = model_options.open(basis)
    manifest = import_delphi(cache, scope.model, scope.basis, out, name=Path(basis).name)
    _print_manifest(results(), out, manifest)


# ---------------------------------------------------------------- parts


def _destination(basis: str, out: Path | None) -> Path:
    from micrographia.atlas.atlas import BESIDE, built_place
    from micrographia.bases.named import NEURONS, TRANSCODERS

    if out is not None:
        return out
    if basis == TRANSCODERS:
        built_place().parent.mkdir(parents=True, exist_ok=True)
        return built_place()
    if not Path(basis).is_dir() and not basis.startswith(NEURONS):
        raise CallError(f"There is no basis {basis!r}: give a folder with transcoders, 'transcoders', or 'neurons'.")
    if not Path(basis).is_dir():
        raise CallError(f"The atlas of {basis!r} needs a folder to lie in: --out DIR")
    return Path(basis) / BESIDE


def open_atlas(said: Path | None) -> "Atlas":
    """The atlas that is meant: a folder, the one in a basis's folder, or that of the transcoders that come along."""
    from micrographia.atlas.atlas import Atlas, atlas_place
    from micrographia.bases.named import shipped_folder

    folder = said or shipped_folder()
    place = None if folder is None else atlas_place(folder)
    if said is None and place is None:
        raise CallError(
            "There is no atlas of the transcoders that come along: give another, --atlas DIR, or build it, "
            "micrographia atlas build transcoders --corpus DIR"
        )
    return Atlas.open(place or said or Path())


def basis_of(opened: "Atlas") -> str:
    """The basis whose folder an atlas lies in, or one that has a name."""
    from micrographia.atlas.atlas import BESIDE, built_place
    from micrographia.bases.named import NEURONS, TRANSCODERS

    plan, place = opened.manifest.plan, opened.folder.resolve()
    if plan.basis.kind == NEURONS:
        return NEURONS
    if place == built_place().resolve():
        return TRANSCODERS
    if place.name != BESIDE:
        raise CallError(f"{opened.folder} does not lie in its basis's folder: say where that is, --basis DIR")
    return str(place.parent)


def _label(opened: "Atlas", layer: int, index: int) -> str | None:
    """The kind and the name of a feature, where labels are made."""
    from micrographia.labels.beside import labels_beside

    book = labels_beside(opened)
    if book is None:
        return None
    with book:
        found = book.label(layer, index)
    return None if found is None else f"{found.kind or 'not examined'}: {found.text or 'no label'}"


def tokenizer_of(opened: "Atlas", options: ModelOptions) -> "Tokenizer":
    """The tokenizer of an atlas's text."""
    from micrographia.model.checkpoint import locate
    from micrographia.model.tokens import Tokenizer

    tokenizer = Tokenizer.load(locate(options.model))
    opened.check_tokenizer(tokenizer)
    return tokenizer


def place_of(said: str) -> tuple[int, int]:
    """The layer and the index of `12/345`."""
    layer, slash, index = said.partition("/")
    if not (slash and layer.isdecimal() and index.isdecimal()):
        raise CallError(f"A feature is written LAYER/FEATURE, such as 12/345; this is {said!r}.")
    return int(layer), int(index)


def _dtype(options: ModelOptions, folder: Path) -> str:
    """What is said, or as it was begun; else bfloat16 where this machine multiplies it faster than float32."""
    import torch

    from micrographia.atlas.build import begun_dtype
    from micrographia.model.machine import choose_device, matmul_speed

    known = options.dtype or begun_dtype(folder)
    if known is not None:
        return known
    there = choose_device(options.device)
    narrow, wide = (matmul_speed(dtype, there).gflops for dtype in (torch.bfloat16, torch.float32))
    return "bfloat16" if narrow > 1.2 * wide else "float32"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _width(console: Console) -> int:
    return min(max(console.width, 60), 120) if console.is_terminal else _WIDTH


@contextmanager
def told_to_stop_by_ctrl_c(piece: str = "block") -> "Generator[Callable[[], bool]]":
    """The first Ctrl-C ends the work after the piece at hand; a second one ends it at once."""
    told: list[bool] = []

    def stop(number: int, frame: "FrameType | None") -> None:
        told.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        Console(stderr=True).print(f"This {piece} is finished and kept first. Ctrl-C again: at once, without that.")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: bool(told)
    finally:
        signal.signal(signal.SIGINT, before)


def _print_manifest(console: Console, folder: Path, manifest: "AtlasManifest") -> None:
    from micrographia.store import readable_size

    plan = manifest.plan
    n = sum(each.n_features for each in plan.layers)
    n_active, n_dead = sum(manifest.active), sum(manifest.dead)
    basis = " ".join(dict.fromkeys((plan.basis.kind, plan.basis.name)))
    console.print(inert(f"{folder}: {basis}, of {plan.model} in {plan.dtype}"))
    console.print(
        f"{n:,} features in {len(plan.layers)} layers over {plan.n_positions:,} positions ({plan.config.split}); "
        f"{n_active / plan.n_positions / len(plan.layers):.1f} active per layer and position, {n_dead:,} never active; "
        f"{readable_size(manifest.size)}, {manifest.size / n:,.0f} bytes per feature."
    )
    for source in plan.sources:
        console.print(inert(f"  {source.name}: {source.licence}"), style="dim")
