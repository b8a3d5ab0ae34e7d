"""The HTTP interface of a service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from videozoo.errors import DataError, did_you_mean
from videozoo.predict.answers import FORMATS
from videozoo.predict.session import Request as Settled
from videozoo.serve.door import Door
from videozoo.serve.files import SentFile, file_below, in_time, too_large
from videozoo.serve.metrics import CONTENT_TYPE
from videozoo.serve.pool import Task, too_slow
from videozoo.serve.refusal import Refusal
from videozoo.serve.service import Service
from videozoo.serve.worker import VIEW, Job
from videozoo.structured import parse_json
from videozoo.version import __version__

__all__ = ["create_app"]

PAGE = Path(__file__).parent / "page"
JSON_BYTES = 64 << 10  # of a body with a path
LOOK_S = 0.5  # how often a waiting request looks whether its client is still there
WRITTEN = (*(name for name in FORMATS if name != "json"), VIEW)


class Options(BaseModel):
    """The query of a prediction; the names are those of `videozoo predict`."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="Name of the model; the default model otherwise.")
    top_k: int | None = Field(None, ge=1, le=1000, description="Number of labels [5], and of segments [all].")
    window_s: float | None = Field(None, gt=0, allow_inf_nan=False, description="Answer for windows of this length.")
    stride_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Seconds from one window to the next [half a window]."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Least score over time [of segments a third of the best one's]."
    )
    max_overlap: float = Field(0.5, ge=0, le=1, description="tIoU above which the weaker of two segments is dropped.")
    segments: str | None = Field(None, description="Answer for each segment that this model finds, a localizer.")
    query: str | None = Field(None, max_length=1000, description="The sentence to find, for a model that searches.")
    with_: str | None = Field(
        None, alias="with", description=f"Further forms of the answer, e.g. srt,edl; of {', '.join(WRITTEN)}."
    )

    def formats(self) -> tuple[str, ...]:
        """Returns the further forms of the answer.

        Raises:
            Refusal: one is unknown.
        """
        names = tuple(dict.fromkeys(self.with_.split(","))) if self.with_ else ()
        for name in names:
            if name not in WRITTEN:
                raise Refusal(422, "request", f"with: there is no '{name[:100]}'{did_you_mean(name[:100], WRITTEN)}")
        return names


class ErrorDetail(BaseModel):
    kind: str = Field(description="A word for programs: model, size, video, limit, time, busy, token, ...")
    message: str = Field(description="One line for people.")


class ErrorBody(BaseModel):
    """The form of every error."""

    error: ErrorDetail


class OnePrediction(BaseModel):
    """The answer for one file; `labels`, `segments`, `caption` or another kind of answer by its name."""

    model_config = ConfigDict(extra="allow")

    id: str
    windows: list[dict[str, Any]]
    info: dict[str, Any]


class AnswerBody(BaseModel):
    """The form of `videozoo predict --json`, for one file."""

    run: str = Field(description="The name of the model.")
    predictions: list[OnePrediction] = Field(min_length=1, max_length=1)
    failed: list[dict[str, str]] = Field(max_length=0)
    files: dict[str, str] | None = Field(
        None, description="The answer in the formats of `with`; one that needs times is left out without them."
    )
    view: dict[str, Any] | None = Field(
        None, description="The answer for drawing, in a form that all kinds of answers share; with `view` in `with`."
    )


class ModelBody(BaseModel):
    name: str
    task: str
    num_classes: int
    class_names: list[str] = Field(description="At most 1000 of them.")
    searches: bool = Field(description="Whether the model needs a query.")
    timed: bool = Field(description="Whether its answers have times of their own, without windows.")
    default: bool


class LimitsBody(BaseModel):
    size_bytes: int
    duration_s: float
    pixels: int


class ModelsBody(BaseModel):
    models: list[ModelBody]
    limits: LimitsBody


class State(BaseModel):
    status: str


BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "The video."}},
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["path"],
                "properties": {"path": {"type": "string", "description": "A file below the server's --root."}},
            }
        },
    },
}
REFUSALS = {
    400: "The form is damaged.",
    403: "The server reads no paths, or another site asks.",
    404: "There is no such model or file.",
    408: "The body takes too long to arrive.",
    413: "The file is too large.",
    415: "There is no video in the file.",
    422: "The query is wrong, or the video is too long or too large.",
    429: "Too many requests wait; see Retry-After.",
    503: "The server is stopping.",
    504: "The answer takes too long.",
}
STRANGERS = {401: "The token is missing or wrong.", 421: "The request was made for another host."}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    told = STRANGERS | {status: REFUSALS[status] for status in statuses}
    return {status: {"model": ErrorBody, "description": text} for status, text in sorted(told.items())}


def create_app(service: Service, *, closes: bool = False) -> FastAPI:
    """Returns the app of a service.

    Args:
        closes: whether the app closes the service when it shuts down; otherwise the caller does.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if closes:
            await asyncio.to_thread(service.close)

    app = FastAPI(
        lifespan=lifespan,
        title="videozoo",
        version=__version__,
        description="Answers for videos, the same as `videozoo predict --json`.",
        docs_url=None,  # its page would come from another site
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(Door, service=service)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    limits = service.settings.limits

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))

    @app.get("/api/models", response_model=ModelsBody, responses=_refusals())
    async def models() -> dict[str, Any]:
        """Lists the models and the limits on a request."""
        found = [model.to_dict() for model in service.models.values()]
        sizes = {"size_bytes": limits.size_bytes, "duration_s": limits.duration_s, "pixels": limits.pixels}
        return {"models": found, "limits": sizes}

    @app.post(
        "/api/predict",
        responses={200: {"model": AnswerBody}, **_refusals(*REFUSALS)},
        openapi_extra={"requestBody": BODY},
    )
    async def predict(request: Request, options: Annotated[Options, Query()]) -> Response:
        """Answers for one video: an upload, or a file below the server's root."""
        service.check_open()
        model = service.model(options.model)
        formats = options.formats()
        _check_query(options, searches=model.searches)
        if options.segments is not None:
            service.model(options.segments)
        request.state.fields = {"model": model.name}
        async with _sent_file(service, request) as file:
            job = Job(
                path=str(file.path),
                name=file.name,
                model=model.name,
                request=_settled(options, service),
                finder=options.segments,
                query=options.query,
                formats=formats,
            )
            with service.answering.one():
                answer = await _answered(service.submit(job), request)
        service.metrics.answers.labels(model.name).inc()
        return Response(answer, media_type="application/json")

    @app.get("/healthz", response_model=State)
    async def health() -> dict[str, str]:
        """Says that the process is alive."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=State, responses=_refusals(503))
    async def ready() -> dict[str, str]:
        """Says whether the server takes requests."""
        if service.is_stopping:
            raise Refusal(503, "stopping", "the server is stopping; try another one")
        return {"status": "ok"}

    @app.get("/metrics", responses=_refusals() | {200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def metrics() -> Response:
        """Returns the numbers of the server in Prometheus' text format."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return app


def _settled(options: Options, service: Service) -> Settled:
    return Settled(
        window_s=options.window_s,
        stride_s=options.stride_s,
        top=options.top_k,
        min_score=options.threshold,
        max_overlap=options.max_overlap,
        batch_size=service.settings.batch,
    )


def _check_query(options: Options, *, searches: bool) -> None:
    """Refuses options that exclude each other, or that the model does not take.

    Raises:
        Refusal: it names them.
    """
    if searches and not (options.query or "").strip():
        raise Refusal(422, "request", "query: is missing, and the model answers sentences; say what to look for")
    if not searches and options.query is not None:
        raise Refusal(422, "request", "query: the model takes no sentence; leave it out, or ask a model that searches")
    if searches and (options.window_s is not None or options.segments is not None):
        raise Refusal(422, "request", "window_s, segments: a model that searches finds its own times; leave them out")
    if options.stride_s is not None and options.window_s is None:
        raise Refusal(422, "request", f"stride_s: got {options.stride_s:g} without a window; give window_s, too")
    if options.segments is not None and options.window_s is not None:
        raise Refusal(422, "request", "segments: got window_s as well, and both choose the stretches; give one")


@contextlib.asynccontextmanager
async def _sent_file(service: Service, request: Request) -> AsyncIterator[SentFile]:
    """Gives the file of a request until the block ends."""
    limits = service.settings.limits
    kind = request.headers.get("content-type", "")
    length = request.headers.get("content-length", "")
    if kind.partition(";")[0].strip().lower() == "application/json":
        body = await _small_body(request, limits.time_s)
        try:
            found = parse_json(body, where="body", advice='send {"path": "video.mp4"}')
        except DataError as error:
            raise Refusal(422, "form", str(error)) from None
        file = file_below(service.settings.root, found.get("path") if isinstance(found, dict) else None)
        if file.path.stat().st_size > limits.size_bytes:
            raise too_large(limits.size_bytes)
        yield file
        return
    if length.isdecimal() and int(length[:20]) > limits.size_bytes + JSON_BYTES:
        raise too_large(limits.size_bytes)
    async with contextlib.AsyncExitStack() as until_answered:
        with service.uploading.one():
            receiving = service.uploads.receiving(
                request.stream(), kind, size_bytes=limits.size_bytes, time_s=limits.time_s
            )
            file = await until_answered.enter_async_context(receiving)
        yield file


async def _small_body(request: Request, time_s: float) -> bytes:
    body = b""
    async for chunk in in_time(request.stream(), time_s):
        body += chunk
        if len(body) > JSON_BYTES:
            raise too_large(JSON_BYTES)
    return body


async def _answered(task: Task, request: Request) -> bytes:
    """Waits for the answer of a task as long as its client does.

    Raises:
        Refusal: there is none, or not in time.
    """
    answer = asyncio.wrap_future(task.answer)
    try:
        while not (await asyncio.wait({answer}, timeout=LOOK_S))[0]:
            if time.monotonic() > task.ends_s + LOOK_S:
                raise too_slow(task.job.name)
            if await request.is_disconnected():
                raise Refusal(499, "gone", "the client has closed the connection")
        return answer.result()
    finally:
        task.is_dropped.set()
        answer.cancel()


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return JSONResponse(error.to_dict(), error.status, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answers a wrong query with its first fault."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    name = str(fault["loc"][-1])[:100]
    if fault["type"] == "extra_forbidden":
        fields = [field.alias or key for key, field in Options.model_fields.items()]
        message = f"{name}: there is no such option{did_you_mean(name, fields)}"
    else:
        given = json.dumps(fault.get("input"), default=str)[:100]
        message = f"{name}: {str(fault['msg']).lower()}; got {given}"
    return await _refused(request, Refusal(422, "request", message))


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = {
        404: "there is no such page; see /openapi.json",
        405: "this page takes another method; see /openapi.json",
    }
    text = message.get(error.status_code, str(error.detail).lower())
    return await _refused(request, Refusal(error.status_code, "route", text, error.headers))
