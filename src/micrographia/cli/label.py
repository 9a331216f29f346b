"""`micrographia label`: find out what every feature is, name those that earn it, and say why."""

import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators
from rich.console import Console

from micrographia.cli.atlas import basis_of, open_atlas, place_of, tokenizer_of, told_to_stop_by_ctrl_c
from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micrographia.atlas.atlas import Atlas
    from micrographia.labels.build import LabelConfig
    from micrographia.labels.difference import Difference
    from micrographia.labels.label import Label
    from micrographia.labels.store import LabelBook
    from micrographia.labels.windows import EmbedderName

__all__ = ["LabelChoices", "label"]

_POSITIVE = validators.Number(gte=1)
_SEVERAL = validators.Number(gte=4)
_SHARE = validators.Number(gt=0, lt=1)
_SHOWN = 40


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class LabelChoices:
    """How much is read and tried; what is left out is as `LabelConfig` says."""

    fit: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions of text names are made from.")] = None
    held: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions of text to try them on.")] = None
    windows: Annotated[int | None, Parameter(validator=_POSITIVE, help="Windows in which things are changed.")] = None
    places: Annotated[int | None, Parameter(validator=_POSITIVE, help="Places at which each feature is tried.")] = None
    random: Annotated[int | None, Parameter(validator=_SEVERAL, help="Random directions in each layer.")] = None
    rate: Annotated[
        float | None, Parameter(validator=_SHARE, help="False discoveries that are put up with, as a share.")
    ] = None
    seed: Annotated[int | None, Parameter(help="Decides which documents labels are tested on.")] = None

    def config(self) -> "LabelConfig":
        from micrographia.labels.build import LabelConfig

        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return LabelConfig.model_validate({key: value for key, value in said.items() if value is not None})


def label(
    feature: Annotated[str | None, Parameter(help="LAYER/FEATURE: show its label. Left out: make all.")] = None,
    /,
    *,
    explain: Annotated[str | None, Parameter(help="LAYER/FEATURE: show everything that its label rests on.")] = None,
    write: Annotated[
        tuple[str, str] | None, Parameter(name="--set", negative="", help="LAYER/FEATURE and a label of your own.")
    ] = None,
    unset: Annotated[str | None, Parameter(help="LAYER/FEATURE: take a label of your own back.")] = None,
    alike: Annotated[
        bool, Parameter(help="With --explain: how alike the texts around its places are, too.", negative="")
    ] = False,
    embedder: Annotated[
        Literal["model", "minilm"] | None,
        Parameter(
            help="The same, by this embedder: the model's own states, or all-MiniLM-L6-v2, a package of its own. "
            "Default: model."
        ),
    ] = None,
    diff: Annotated[
        tuple[Path, Path] | None, Parameter(negative="", help="Compare two files of labels, or two atlases'.")
    ] = None,
    slim: Annotated[
        Path | None, Parameter(help="Write a smaller copy of the labels to this file, to come along with a basis.")
    ] = None,
    folder: Annotated[
        Path | None,
        Parameter(name="--atlas", help="An atlas, or a basis with one in it. Default: that of the transcoders here."),
    ] = None,
    basis: Annotated[
        str | None, Parameter(help="The basis of the atlas. Default: the folder it lies in, or those here.")
    ] = None,
    layers: Annotated[tuple[int, ...], Parameter(help="Only these layers.", negative="", consume_multiple=True)] = (),
    json: Annotated[bool, Parameter(help="Print it as JSON.", negative="")] = False,
    choices: LabelChoices = LabelChoices(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Find the kind of every feature of an atlas, by evidence beside controls, and name those that earn a name.

    Labels lie beside the atlas, in NAME.labels. Stopped by Ctrl-C or killed, the same command goes on. No language
    model is asked. Without choices names are made from 64,000 positions and tried on 64,000; in 128 windows things are
    changed, at 4 places for each feature; beside it stand 1,000 random directions a layer; 5% of findings may be false.

        micrographia label
        micrographia label 12/345
        micrographia label --explain 12/345
        micrographia label --explain 12/345 --embedder minilm
        micrographia label --set 12/345 "units of time"
        micrographia label --diff old/atlas new/atlas
    """
    asked = [each for each in (feature, explain, write, unset, diff, slim) if each is not None]
    if len(asked) > 1:
        raise CallError("Ask for one thing: a feature, --explain, --set, --unset, --slim or --diff.")
    by = embedder or ("model" if alike else None)
    if by is not None and explain is None:
        raise CallError("--alike and --embedder go with --explain: write micrographia label --explain LAYER/FEATURE …")
    if diff is not None:
        _compare(*diff, json)
        return
    atlas = open_atlas(folder)
    if slim is not None:
        _slim(atlas, slim)
    elif write is not None or unset is not None:
        _own(atlas, write, unset)
    elif feature is not None or explain is not None:
        _show(atlas, feature or explain or "", json, model_options, whole=explain is not None, by=by)
    else:
        _build(atlas, basis, layers, choices, model_options, json)


def _build(
    atlas: "Atlas",
    basis: str | None,
    layers: tuple[int, ...],
    choices: LabelChoices,
    options: ModelOptions,
    json: bool,
) -> None:
    from micrographia.labels.beside import labels_beside, labels_instead_of, labels_to_write
    from micrographia.labels.build import build_labels

    if instead := labels_instead_of(atlas):
        if not layers and choices == LabelChoices() and (there := labels_beside(atlas)):
            with there:
                _print_book(there, json)
            return
        said = (
            "What is made here is what is shown of these layers from now on, instead of what came along; to go back, "
        )
        said += f"delete {instead}"
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(inert(said))
    dtype = options.dtype or atlas.manifest.plan.dtype
    scope = replace(options, dtype=dtype).open(basis or basis_of(atlas))
    with (
        labels_to_write(atlas) as book,
        told_to_stop_by_ctrl_c("layer") as stopped,
        progress() as report,
    ):
        done = build_labels(
            scope.model,
            scope.basis,
            atlas,
            book,
            config=choices.config(),
            layers=layers,
            stopped=stopped,
            progress=report,
        )
        if done:
            _print_book(book, json)
    if not done:
        results().print("Stopped; what is done is kept. Go on: the same command.")
        sys.exit(130)


def _own(atlas: "Atlas", write: tuple[str, str] | None, unset: str | None) -> None:
    from micrographia.labels.beside import labels_to_write
    from micrographia.labels.store import check_text

    said = place_of(write[0] if write is not None else unset or "")
    atlas.feature(*said)
    text = None if write is None else check_text(write[1])
    where = f"{said[0]}/{said[1]}"
    with labels_to_write(atlas) as book:
        if text is not None:
            book.say(*said, text)
            results().print(inert(f"{where}: {text}"))
        elif book.unsay(*said):
            results().print(f"{where}: your label is taken back.")
        else:
            raise CallError(f"{where} has no label of yours.")


def _slim(atlas: "Atlas", path: Path) -> None:
    from micrographia.labels.beside import labels_beside

    book = labels_beside(atlas)
    if book is None:
        raise CallError(f"{atlas.folder} has no labels yet. Make them: micrographia label{_named(atlas)}")
    with book:
        book.slim(path)
    results().print(inert(f"{path}: {path.stat().st_size / 1e6:.1f} MB"))


def _show(
    atlas: "Atlas", said: str, json: bool, options: ModelOptions, *, whole: bool, by: "EmbedderName | None"
) -> None:
    from micrographia.labels.beside import labels_beside
    from micrographia.labels.explain import explained

    layer, index = place_of(said)
    atlas.feature(layer, index)
    book = labels_beside(atlas)
    found = None if book is None else book.label(layer, index)
    if found is None:
        raise CallError(
            f"{layer}/{index} has no label yet. Make those of its layer: micrographia label --layers {layer}"
            f"{_named(atlas)}"
        )
    if by is not None:
        found = _with_windows(found, atlas, options, by)
    if json:
        print_json(_content(found))
        return
    lines = explained(found, tokenizer_of(atlas, options).piece) if whole else iter([str(found), found.why])
    console = results()
    for line in lines:
        console.print(inert(line))


def _named(atlas: "Atlas") -> str:
    """What makes a command mean this atlas."""
    from micrographia.atlas.atlas import atlas_place
    from micrographia.bases.named import shipped_folder

    shipped = shipped_folder()
    unsaid = shipped is not None and atlas.folder == atlas_place(shipped)
    return "" if unsaid else f" --atlas {shlex.quote(str(atlas.folder))}"


def _with_windows(found: "Label", atlas: "Atlas", options: ModelOptions, by: "EmbedderName") -> "Label":
    """The same label, with the scores of the texts around its strongest places."""
    from micrographia.labels.label import Evidence
    from micrographia.labels.windows import alike

    model = options.open("neurons").model
    scores = alike(model, atlas, found.layer, found.index, by)
    evidence = found.evidence or Evidence(density=atlas.feature(found.layer, found.index).density)
    return replace(found, evidence=evidence.model_copy(update={"windows": scores}))


def _compare(before: Path, after: Path, json: bool) -> None:
    from micrographia.labels.difference import difference

    with _book(before) as first, _book(after) as second:
        found = difference(first, second)
    if json:
        print_json(_difference(found))
        return
    console = results()
    console.print(f"{len(found.changes):,} of {found.n:,} features changed.")
    for (was, now), n in sorted(found.kinds.items(), key=lambda each: -each[1]):
        if was != now:
            console.print(f"  {n:>7,}  {was or 'nothing'} → {now or 'nothing'}")
    for each in found.changes[:_SHOWN]:
        layer, index = each.place
        was, now = (_said(one) for one in (each.before, each.after))
        console.print(inert(f"{layer}/{index}  {was}  →  {now}"))
    if len(found.changes) > _SHOWN:
        console.print(f"… and {len(found.changes) - _SHOWN:,} more; --json has all.", style="dim")


def _book(said: Path) -> "LabelBook":
    """The labels at a path: a file, or those of an atlas or of a basis with one in it."""
    from micrographia.atlas.atlas import Atlas, atlas_place
    from micrographia.labels.beside import labels_beside, labels_place
    from micrographia.labels.store import LabelBook

    if not said.is_dir():
        return LabelBook.open(said)
    place = atlas_place(said) or said
    return labels_beside(Atlas.open(place)) or LabelBook.open(labels_place(place))


def _said(one: "Label | None") -> str:
    return "nothing" if one is None else f"{one.kind or '–'}: {one.text or 'no label'}"


def _print_book(book: "LabelBook", json: bool) -> None:
    """How many features of each kind, and how many have a name, layer by layer and in all."""
    from rich.table import Table

    from micrographia.labels.label import KINDS

    if json:
        print_json({"labels": str(book.path), "layers": [_tally(book, [layer]) for layer in book.layers]})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in ("layer", *KINDS, "named", "random named"):
        table.add_column(name, justify="right")
    for name, layers in (*((str(layer), (layer,)) for layer in book.layers), ("all", book.layers)):
        tally = _tally(book, layers)
        shares = (f"{tally[kind] / max(tally['features'], 1):.1%}" for kind in (*KINDS, "named"))
        table.add_row(name, *shares, f"{tally['random_named'] / max(tally['random'], 1):.1%}")
    console = results()
    console.print(table)
    console.print(inert(f"{book.path}: {_tally(book, book.layers)['features']:,} features"), style="dim")


def _tally(book: "LabelBook", layers: "Sequence[int]") -> dict[str, int]:
    """Features of some layers by kind, how many have a name, and how many random directions would."""
    from micrographia.labels.label import KINDS

    here = [(kind, named, n) for (layer, kind, named), n in book.counts().items() if layer in layers]
    tried = [each for layer, each in book.controls().items() if layer in layers]
    return {
        **({"layer": layers[0]} if len(layers) == 1 else {}),
        "features": sum(n for *_, n in here),
        **{kind: sum(n for each, _, n in here if each == kind) for kind in KINDS},
        "named": sum(n for _, named, n in here if named),
        "random": sum(each.tried for each in tried),
        "random_named": sum(each.input + each.output + each.cross for each in tried),
    }


def _content(one: "Label") -> dict[str, object]:
    return {
        "layer": one.layer,
        "index": one.index,
        "kind": one.kind,
        "text": one.text,
        "by": one.by,
        "why": one.why,
        "score": one.score,
        "interval": one.interval,
        "nulls": dict(one.nulls or {}),
        "evidence": None if one.evidence is None else one.evidence.model_dump(mode="json"),
        "provenance": None if one.provenance is None else one.provenance.model_dump(mode="json"),
    }


def _difference(found: "Difference") -> dict[str, object]:
    def said(one: "Label | None") -> dict[str, object] | None:
        return None if one is None else {"kind": one.kind, "text": one.text, "score": one.score}

    return {
        "features": found.n,
        "kinds": [{"before": was, "after": now, "n": n} for (was, now), n in found.kinds.items()],
        "changes": [
            {"layer": each.place[0], "index": each.place[1], "before": said(each.before), "after": said(each.after)}
            for each in found.changes
        ],
    }
