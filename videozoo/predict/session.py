"""A session: a run answers for any number of sources, and files are made from its answers.

The command line and a server are its callers. Nothing here prints.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from videozoo.contracts.answer import Labels
from videozoo.contracts.features import Features
from videozoo.contracts.video import Span
from videozoo.errors import ConfigError, DataError
from videozoo.io.features import FeatureStore
from videozoo.io.isolation import current_journal
from videozoo.io.lock import locked
from videozoo.predict.answers import FORMATS, RECORD_FORMATS, AnswerFile, Answers, Format, Sink, StreamFile, format_of
from videozoo.predict.frames import open_source
from videozoo.predict.outputs import is_folder
from videozoo.predict.prediction import Prediction, RecordAnswer
from videozoo.predict.predictor import Predictor, Progress
from videozoo.predict.products import Product, Wanted, plan_products
from videozoo.predict.sources import Sources

__all__ = ["Made", "Plan", "Request", "Session", "num_answered"]


@dataclasses.dataclass(frozen=True)
class Request:
    """The settings of the answers, the same for every video.

    Attributes:
        window_s, stride_s: windows to answer for as well; see `Predictor`.
        top: number of labels to show (None: 5) and of segments to keep (None: all).
        min_score: minimum score over time; None takes a third of the best segment's.
        max_overlap: tIoU above which a better segment displaces another.
        fps: rate of folders of frames.
        batch_size: windows or records that go through the network together.
    """

    window_s: float | None = None
    stride_s: float | None = None
    top: int | None = None
    min_score: float | None = None
    max_overlap: float = 0.5
    fps: float | None = None
    batch_size: int = 8

    def keep(self, prediction: Prediction) -> Prediction:
        """Returns the prediction with its strongest events only."""
        return prediction.keep(top=self.top, min_score=self.min_score, max_overlap=self.max_overlap)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The work of a session, checked before any weights are read.

    Attributes:
        answers: the answers, empty at first.
        format: the format of the answers; None if none was given.
    """

    sources: Sources
    request: Request
    wanted: Wanted
    answers: Answers
    format: str | None
    products: Sequence[Product]

    @classmethod
    def of(
        cls,
        run: str,
        sources: Sources,
        request: Request,
        wanted: Wanted,
        *,
        over_segments: bool = False,
        from_features: bool = False,
    ) -> Plan:
        """Returns the plan for sources.

        Args:
            run: the name of the run in answers.
            over_segments: whether another run finds the segments; all of them are kept.
            from_features: whether stored features replace the videos.

        Raises:
            ConfigError: an output cannot be written, or does not apply to the sources.
        """
        if sources.shards:
            options = {"segments": over_segments or None, "features": from_features or None}
            _refuse_options_of_videos(sources, options | _options_of_videos(request, wanted))
        min_score = 0.0 if over_segments else request.min_score or 0.0
        answers = Answers(run, top=5 if request.top is None else request.top, min_score=min_score)
        format = format_of(wanted.format, wanted.out, sources)
        products = plan_products(sources.videos, answers, wanted, format=format) if not sources.shards else []
        return cls(sources, request, wanted, answers, format, products)

    @property
    def out_format(self) -> Format:
        """The format of `wanted.out`."""
        return (RECORD_FORMATS if self.sources.shards else FORMATS)[self.format or "json"]


def _options_of_videos(request: Request, wanted: Wanted) -> dict[str, object]:
    outputs = {"render": wanted.render, "plot": wanted.plot, "cut": wanted.cut}
    return {"window": request.window_s, "stride": request.stride_s, **outputs, "fps": request.fps}


def _refuse_options_of_videos(sources: Sources, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name}: needs videos, but {sources.first_shard} holds features; leave it out")


@dataclasses.dataclass(frozen=True)
class Made:
    """The result of one product for one video: the written files, or the reason of the failure."""

    verb: str
    paths: Sequence[Path] = ()
    problem: str | None = None


class Session:
    """A run that answers for videos and records.

        session = Session(load("runs/tsm"), Request(window_s=2.0, top=3))
        session.answer(Path("a.mp4"))                       # one video
        session.run(plan, sinks=[...])                      # many, with files; failures are collected

    If the process is supervised, a file that crashes the decoder affects no other file; see `io.isolation`.

    Args:
        predictor: predicts the answers.
        request: the settings of the answers.
        finder: finds the segments to answer for, instead of windows.
        features: a folder or file of stored features to use instead of videos.

    Attributes:
        damaged: the number of damaged frames that the decoder concealed, by video.
        made: the products so far.
        unwritten: the reasons why files could not be written.

    Raises:
        ConfigError: no network takes the features.
        DataError: the features cannot be read.
    """

    def __init__(
        self,
        predictor: Predictor,
        request: Request,
        *,
        finder: Predictor | None = None,
        features: Path | None = None,
    ):
        takers = [each for each in (predictor, finder) if each is not None and each.takes_features]
        if features is not None and not takers:
            raise ConfigError(f"--features: the run takes videos, not features such as {features}; leave it out")
        self.predictor, self.request, self.finder = predictor, request, finder
        self.store = FeatureStore(features) if features is not None else None
        self.damaged: dict[str, int] = {}
        self.made: list[Made] = []

    @property
    def unwritten(self) -> list[str]:
        return [made.problem for made in self.made if made.problem is not None]

    def answer(self, video: Path, *, progress: Progress | None = None) -> Prediction:
        """Returns the answer for one video, its strongest events only.

        Raises:
            DecodeError: the video cannot be read.
            DataError: its features are missing, or have a different recipe.
        """
        request = self.request
        spans = self._found_spans(video, progress)
        prediction = self.predictor(
            self._content(video, self.predictor),
            window_s=request.window_s,
            stride_s=request.stride_s,
            spans=spans,
            fps=request.fps,
            batch_size=request.batch_size,
            progress=progress,
        )
        return request.keep(self._named(video, prediction))

    def record_answers(self, plan: Plan) -> Iterator[RecordAnswer]:
        """Yields the labels of each record of the shards; the plan's answers collect the records that have none.

        Raises:
            ConfigError: the network takes videos, or its answers are not labels.
        """
        if plan.sources.shards and not self.predictor.takes_features:
            raise ConfigError("predict: these are features, but the model takes videos; give the videos")
        for shards in plan.sources.shards:
            for id_, answer in self.predictor.of_records(shards, batch_size=self.request.batch_size):
                if isinstance(answer, DataError):
                    plan.answers.failed[id_] = str(answer)
                elif isinstance(answer, Labels):
                    yield RecordAnswer(id_, answer)
                else:
                    raise ConfigError(f"predict: the run answers with {answer.kind}; shards need a run with labels")

    def run(
        self, plan: Plan, *, sinks: Sequence[Sink] = (), progress: Callable[[Path], Progress] | None = None
    ) -> None:
        """Answers for all sources of a plan; answers go to the sinks as they arrive, then products are made.

        Args:
            sinks: take the answers, before the file of answers does; all are closed, also after an error.
            progress: called with each video when it begins; returns the progress function for its windows.
        """
        with contextlib.ExitStack() as ending:
            ending.enter_context(_locked(plan.wanted.out))
            all_sinks = [*sinks, *_file_sinks(plan)]
            for sink in all_sinks:
                ending.callback(sink.close)
            for video in plan.sources.videos:
                self._run_video(video, plan, all_sinks, progress(video) if progress is not None else None)
            for answered in self.record_answers(plan):
                for sink in all_sinks:
                    sink.add(answered)
        self.made += [Made("written", problem=sink.problem) for sink in all_sinks if sink.problem is not None]

    def _run_video(self, video: Path, plan: Plan, sinks: Sequence[Sink], progress: Progress | None) -> None:
        journal = current_journal()
        prediction = journal.results.get(str(video))  # from a process that crashed later
        if prediction is None:
            try:
                with journal.reading(video):
                    prediction = self.answer(video, progress=progress)
            except DataError as error:
                plan.answers.failed[str(video)] = str(error)
                return
            plan.answers.found.append(prediction)
            for sink in sinks:
                sink.add(prediction)
            journal.keep(video, prediction)
        else:
            plan.answers.found.append(prediction)
        if prediction.damaged_frames:
            self.damaged[prediction.id] = prediction.damaged_frames
        self.made += [self._make(product, video, prediction) for product in plan.products]

    def _make(self, product: Product, video: Path, prediction: Prediction) -> Made:
        """Makes one product, unless a crashed process has already made it."""
        journal, key = current_journal(), f"{product.verb} {video}"
        made: Made | None = journal.results.get(key)
        if made is None:
            try:
                with journal.reading(video) if product.reads_video else contextlib.nullcontext():
                    made = Made(product.verb, product.make(video, prediction, self.request.fps))
            except DataError as error:
                made = Made(product.verb, problem=str(error))
            journal.keep(key, made)
        return made

    def _found_spans(self, video: Path, progress: Progress | None) -> tuple[Span, ...] | None:
        """Returns the segments that the finder finds; None without a finder."""
        if self.finder is None:
            return None
        content, request = self._content(video, self.finder), self.request
        found = self.finder(content, fps=request.fps, batch_size=request.batch_size, progress=progress)
        found = request.keep(found)
        if not found.is_timed:
            source = self.finder.network.source
            raise ConfigError(
                f"--segments: {source} answers with {found.answer.kind}, without times; give a run that finds segments"
            )
        return found.spans()

    def _content(self, video: Path, predictor: Predictor) -> Path | Features:
        """Returns the video, or its stored features if the predictor takes them."""
        if self.store is None or not predictor.takes_features:
            return video
        features = self.store.read(self.store.id_of(video))
        if features.stride_s is None and features.duration_s is None and video.is_file():
            with open_source(video) as reader:  # the rows cover the video evenly, and only the video has its length
                features = dataclasses.replace(features, duration_s=reader.info.duration_s)
        return features

    def _named(self, video: Path, prediction: Prediction) -> Prediction:
        """Returns the prediction with the video's own name and properties, also if it was made from features."""
        if prediction.id == str(video):
            return prediction
        info = prediction.info
        if video.exists():
            with open_source(video, fps=self.request.fps) as reader:
                info = reader.info
        return dataclasses.replace(prediction, id=str(video), info=info)


def num_answered() -> int:
    """Returns the number of videos that a process of this job answered before it crashed."""
    return sum(isinstance(result, Prediction) for result in current_journal().results.values())


def _file_sinks(plan: Plan) -> list[Sink]:
    """Returns the writer of the file for all answers, if one was requested."""
    out = plan.wanted.out
    if out is None or is_folder(out):
        return []
    if plan.sources.shards:
        return [StreamFile(plan.answers, out, plan.out_format)]
    return [AnswerFile(plan.answers, out, plan.format or "json")]


@contextlib.contextmanager
def _locked(out: Path | None) -> Iterator[None]:
    """Holds the lock of a folder of answers; continues without a lock if the folder cannot be written."""
    with contextlib.ExitStack() as stack:
        if out is not None and is_folder(out):
            with contextlib.suppress(OSError):
                stack.enter_context(locked(out))
        yield
