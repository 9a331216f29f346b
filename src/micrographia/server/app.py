"""The server's routes: each one asks the desk, and says what it found as JSON."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Annotated, ParamSpec, TypeVar, cast
from urllib.parse import quote

from anyio import to_thread
from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from micrographia.errors import MicrographiaError, WorkError
from micrographia.report.wire.attention import AttentionDocument, CarriersDocument, HeadDocument
from micrographia.report.wire.live import (
    AboutDocument,
    ErrorDocument,
    FeatureList,
    GraphList,
    GraphName,
    GroupsRequest,
    GroupsSaved,
    JobName,
    LabelRequest,
    TestRequest,
    TraceRequest,
    WhatIfRequest,
)
from micrographia.report.wire.records import (
    WIRE_VERSION,
    FeatureDocument,
    GraphDocument,
    LabelRecord,
    WireRecord,
    wire_json,
)
from micrographia.server.desk import Desk
from micrographia.server.features import Filters
from micrographia.server.guard import Door, Guard
from micrographia.server.jobs import BusyError, Job, NotHereError

__all__ = ["SHELL", "application"]

SHELL = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Micrographia</title>'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
    '<link rel="stylesheet" href="/static/app.css"></head>\n<body><div id="app"></div>\n'
    '<script src="/static/app.js"></script></body></html>\n'
)
"""The page; which of its views is shown, its own script reads from the address."""
_STATIC = {"app.js": "text/javascript; charset=utf-8", "app.css": "text/css; charset=utf-8"}
_VIEWS = ("/", "/features", "/feature/{layer}/{index}", "/graph/{name}", "/attention/{name}", "/compare/{name}/{other}")
_PATIENCE = 15.0
"""Seconds after which a listener hears that there is nothing new."""
_REFUSED = {code: {"model": ErrorDocument, "description": "Why not, in one sentence."} for code in ("default", 422)}
_Name = Annotated[str, Path(max_length=64)]
_Number = Annotated[int, Path(ge=0, le=10**9)]
_Found = TypeVar("_Found")
_Given = ParamSpec("_Given")


def application(desk: Desk, door: Door) -> FastAPI:
    """The application, behind its guard."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        desk.open()
        yield
        await to_thread.run_sync(desk.close)

    app = FastAPI(
        title="Micrographia",
        version=str(WIRE_VERSION),
        description="What the page asks of its server, on this machine, with the token of `micrographia view`.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
        responses=cast("dict[int | str, dict[str, object]]", _REFUSED),
    )
    app.add_middleware(Guard, door=door)
    for part in (_errors, _pages, _graphs, _features, _model, _attention):
        part(app, desk)
    return app


def _said(record: WireRecord) -> Response:
    return Response(wire_json(record), media_type="application/json")


# ---------------------------------------------------------------- errors


def _errors(app: FastAPI, _: Desk) -> None:
    def answer(status: int, words: str) -> Response:
        record = ErrorDocument(error=words)
        return Response(wire_json(record), status_code=status, media_type="application/json")

    @app.exception_handler(MicrographiaError)
    async def ours(_: Request, error: MicrographiaError) -> Response:
        match error:
            case NotHereError():
                status = 404
            case BusyError():
                status = 503
            case WorkError():
                status = 500
            case _:
                status = 400
        return answer(status, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()[:5])
        return answer(422, f"The request cannot be understood: {wrong}.")

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, f"{error.detail}.")

    @app.exception_handler(OSError)
    async def system(_: Request, error: OSError) -> Response:
        return answer(500, f"{error.strerror or error}.")

    @app.exception_handler(500)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return answer(500, f"This should not happen: {type(error).__name__}.")


# ---------------------------------------------------------------- the page itself


def _pages(app: FastAPI, _: Desk) -> None:
    async def shell() -> Response:
        return Response(SHELL, media_type="text/html; charset=utf-8")

    for view in _VIEWS:
        app.add_api_route(view, shell, methods=["GET", "HEAD"], include_in_schema=False)

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise NotHereError("There is no such file.")
        content = (files("micrographia.report") / "web" / name).read_bytes()
        return Response(content, media_type=_STATIC[name])


# ---------------------------------------------------------------- graphs


def _graphs(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/about", response_model=AboutDocument)
    def about() -> Response:
        """Which model answers, and what it can be asked."""
        return _said(desk.about())

    @app.get("/api/graphs", response_model=GraphList)
    def graphs() -> Response:
        """The graphs beneath the folder."""
        return _said(desk.shelf.list())

    @app.post(
        "/api/graphs",
        response_model=GraphName,
        status_code=201,
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def take(request: Request) -> Response:
        """Keep a graph in the JSON of circuit-tracer and Neuronpedia."""
        body = await request.body()
        name = await to_thread.run_sync(desk.take, body)
        return Response(wire_json(GraphName(id=name)), status_code=201, media_type="application/json")

    @app.get("/api/graphs/{name}", response_model=GraphDocument)
    def graph(name: _Name) -> Response:
        """A graph, but for its columns and its features."""
        return _said(desk.graph(name).document)

    @app.get("/api/graphs/{name}/columns", response_class=Response)
    def columns(name: _Name) -> Response:
        """The columns of a graph, as its document describes them."""
        return Response(desk.columns(name), media_type="application/octet-stream")

    @app.get("/api/graphs/{name}/html", response_class=Response)
    def html(name: _Name) -> Response:
        """A graph as one HTML file that opens anywhere."""
        text = desk.html(name)
        headers = {"content-disposition": f"attachment; filename={quote(name)}.html"}
        return Response(text.encode(), media_type="text/html; charset=utf-8", headers=headers)

    @app.put("/api/graphs/{name}/groups", response_model=GroupsSaved)
    def groups(name: _Name, wanted: GroupsRequest) -> Response:
        """Put these groups in the place of those that a graph has."""
        return _said(desk.regroup(name, wanted))


# ---------------------------------------------------------------- features


def _features(app: FastAPI, desk: Desk) -> None:
    share = Query(ge=0, le=1, allow_inf_nan=False)

    @app.get("/api/features", response_model=FeatureList)
    def features(
        layer: Annotated[int | None, Query(ge=0, le=10**6)] = None,
        kind: Annotated[str | None, Query(max_length=20)] = None,
        text: Annotated[str, Query(max_length=200)] = "",
        promotes: Annotated[str, Query(max_length=200)] = "",
        density_min: Annotated[float, share] = 0.0,
        density_max: Annotated[float, share] = 1.0,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> Response:
        """The features of a description."""
        wanted = Filters(layer, kind or None, text, promotes, density_min, density_max, offset, limit)
        return _said(desk.features().matching(wanted))

    @app.get("/api/features/{layer}/{index}", response_model=FeatureDocument)
    def feature(layer: _Number, index: _Number, graph: Annotated[str | None, Query(max_length=64)] = None) -> Response:
        """What a feature does over the corpus; one of a graph, only if the graph is in the same basis."""
        return _said(desk.features(graph).one(layer, index))

    @app.get("/api/labels/{layer}/{index}", response_model=LabelRecord)
    def label(layer: _Number, index: _Number) -> Response:
        """What a feature is called; an empty text where it has no name."""
        return _said(desk.features().label(layer, index) or LabelRecord(text=""))

    @app.put("/api/labels/{layer}/{index}", response_model=LabelRecord)
    def say(layer: _Number, index: _Number, wanted: LabelRequest) -> Response:
        """Give a feature a label of one's own; an empty text takes it back."""
        return _said(desk.features().say(layer, index, wanted.text) or LabelRecord(text=""))


# ---------------------------------------------------------------- the model


def _model(app: FastAPI, desk: Desk) -> None:
    def begun(job: Job) -> Response:
        return Response(wire_json(JobName(job=job.id)), status_code=202, media_type="application/json")

    @app.post("/api/traces", response_model=JobName, status_code=202)
    def trace(wanted: TraceRequest) -> Response:
        """Trace a new prompt; the graph is kept in the folder."""
        return begun(desk.trace(wanted))

    @app.post("/api/graphs/{name}/what-if", response_model=JobName, status_code=202)
    def what_if(name: _Name, wanted: WhatIfRequest) -> Response:
        """What the real model says when something inside is changed."""
        return begun(desk.what_if(name, wanted))

    @app.post("/api/graphs/{name}/tests", response_model=JobName, status_code=202)
    def test(name: _Name, wanted: TestRequest) -> Response:
        """Test the claims of a graph beside controls."""
        return begun(desk.test(name, wanted))

    @app.get("/api/jobs/{name}/events", response_class=StreamingResponse)
    async def events(name: _Name, last_event_id: Annotated[str, Header(max_length=20)] = "0") -> Response:
        """How far a job is, as server-sent events; after the last one the stream ends."""
        job = desk.worker.job(name)
        seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdecimal() else 0
        return StreamingResponse(_stream(job, seen), media_type="text/event-stream")

    @app.delete("/api/jobs/{name}", response_class=Response, status_code=204)
    def stop(name: _Name) -> Response:
        """Stop a job."""
        desk.worker.job(name).stop()
        return Response(status_code=204)


async def _stream(job: Job, seen: int) -> AsyncGenerator[bytes]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    job.listen(wake)
    try:
        while True:
            changed.clear()
            ended = job.ended
            for number, event in job.since(seen):
                seen = number
                yield b"id: %d\ndata: %s\n\n" % (number, wire_json(event))
            if ended:
                return
            try:
                await asyncio.wait_for(changed.wait(), _PATIENCE)
            except TimeoutError:
                yield b": nothing new\n\n"
    finally:
        job.leave(wake)


# ---------------------------------------------------------------- attention


async def _answer(ask: Callable[_Given, "Future[_Found]"], *given: _Given.args, **named: _Given.kwargs) -> _Found:
    """What comes of a question to the model, without holding up others."""
    return await asyncio.wrap_future(await to_thread.run_sync(partial(ask, *given, **named)))


def _attention(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/graphs/{name}/attention", response_model=AttentionDocument)
    async def attention(name: _Name) -> Response:
        """Every attention head on a graph's prompt."""
        return _said((await _answer(desk.shades, name)).document)

    @app.get("/api/graphs/{name}/attention/columns", response_class=Response)
    async def shades(name: _Name) -> Response:
        """The patterns of all heads, as pictures have them."""
        return Response((await _answer(desk.shades, name)).columns, media_type="application/octet-stream")

    @app.get("/api/graphs/{name}/attention/{layer}/{head}", response_model=HeadDocument)
    async def head(name: _Name, layer: _Number, head: _Number) -> Response:
        """One head: where it looks, what it brings from there, which tokens its output promotes."""
        return _said(await _answer(desk.head, name, layer, head))

    @app.get("/api/graphs/{name}/carriers", response_model=CarriersDocument)
    async def carriers(
        name: _Name, source: Annotated[str, Query(max_length=64)], target: Annotated[str, Query(max_length=64)]
    ) -> Response:
        """An edge, split over the heads that carry it."""
        return _said(await _answer(desk.carriers, name, source, target))
