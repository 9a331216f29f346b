"""A graph as one HTML file with the whole page in it: it opens anywhere, offline, and asks nobody for anything.

The graph's columns, and what an atlas knows of its features, are compressed inside; a policy in the file lets only the
page's own script run, by its hash. Where no script may run, the file shows the same graph as pictures and tables. The
same graph gives the same bytes.
"""

import base64
import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from micrographia.evidence.evidence import Evidence
from micrographia.graph.graph import Graph
from micrographia.report.beside import Beside
from micrographia.report.still import still
from micrographia.report.wire.documents import packed
from micrographia.report.wire.records import FeatureDocument, FeaturesDocument, LabelRecord, wire_json
from micrographia.report.words import shortened
from micrographia.store import atomic_file

__all__ = ["page", "write_page"]

_STILL = 400_000
"""Bytes up to which the pictures and tables for those without scripts are put into the file as well."""


def write_page(
    graph: Graph,
    path: Path,
    *,
    evidence: Evidence | None = None,
    labels: Mapping[str, LabelRecord] | None = None,
    features: Mapping[str, FeatureDocument] | None = None,
) -> None:
    """Write the file, whole or not at all; what had the name before is replaced."""
    text = page(graph, evidence=evidence, labels=labels, features=features)
    with atomic_file(path) as stream:
        stream.write(text.encode())


def page(
    graph: Graph,
    *,
    evidence: Evidence | None = None,
    labels: Mapping[str, LabelRecord] | None = None,
    features: Mapping[str, FeatureDocument] | None = None,
) -> str:
    """The whole file.

    `labels` are by node name, `features` what an atlas knows of the graph's, by `layer.index`; where they are not
    given, they are those of the microscope that the graph was traced with.
    """
    beside = graph.beside if isinstance(graph.beside, Beside) else None
    if labels is None:
        labels = {} if beside is None else beside.labels(graph)
    if features is None:
        features = {} if beside is None else beside.features(graph)
    found = packed(graph, evidence=evidence, labels=labels, features=features)
    apart = FeaturesDocument(features=found.document.features)
    told = found.document.model_copy(update={"features": {}})
    script, style = _web("app.js"), _web("app.css")
    policy = (
        f"default-src 'none'; script-src {_hashed(script)}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(shortened(graph.prompt.text, 80))}</title>\n<style>{style}</style></head>\n<body>"
        f'<div id="app"></div>\n<noscript>{_still(graph)}</noscript>\n'
        f'<script type="application/json" id="graph-document">{_inside(wire_json(told))}</script>\n'
        f'<script type="application/octet-stream" id="graph-columns">{_pressed(found.columns)}</script>\n'
        f'<script type="application/octet-stream" id="graph-features">{_pressed(wire_json(apart))}</script>\n'
        f"<script>{script}</script>\n</body></html>\n"
    )


def _still(graph: Graph) -> str:
    """Pictures and tables, or where they would make the file much larger, what to do instead."""
    text = still(graph)
    if len(text) <= _STILL:
        return text
    return "<p>This page needs its own script, which this browser does not run. It fetches nothing.</p>"


def _pressed(content: bytes) -> str:
    """Compressed, in letters."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def _inside(content: bytes) -> str:
    """JSON that can stand in an element of a page: nothing in it ends the element or begins another."""
    return content.decode("ascii").replace("<", "\\u003c")


def _hashed(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


@cache
def _web(name: str) -> str:
    """A part of the page that is built from `viewer/`."""
    text = (files("micrographia.report") / "web" / name).read_text(encoding="utf-8")
    return text.replace("</", "<\\/") if name.endswith(".js") else text
