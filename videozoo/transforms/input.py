"""The input spec of clip models: the one place where preprocessing is defined.

It builds the training, evaluation, multi-view and prediction pipelines, normalises on the device, and
travels in checkpoints, so that training and inference prepare clips in the same way.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from videozoo.config.check import build
from videozoo.contracts.input import Batch, InputSpec
from videozoo.contracts.record import ClipRecord
from videozoo.contracts.video import VideoInfo
from videozoo.errors import ConfigError, DataError
from videozoo.io import sample
from videozoo.io.decode import VideoReader, open_video
from videozoo.io.frame_folder import FrameFolder
from videozoo.transforms import arrays
from videozoo.transforms.augment import Augment
from videozoo.transforms.forms import ClipOps, Form, clip_ops
from videozoo.transforms.geometry import Resize, Snap, scale_box, scaled_size, view_boxes
from videozoo.transforms.labels import multi_hot
from videozoo.transforms.registry import inputs, register_input

__all__ = ["ClipInput", "ClipPipeline", "Views", "build_input"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST = 100_000  # frames or pixels: more than any clip has, and too few to exhaust the memory


@dataclasses.dataclass(frozen=True)
class Views:
    """An evaluation protocol, written "clips x crops": "10x3" means 3 crops of 10 clips."""

    clips: int = 1
    crops: int = 1

    @classmethod
    def parse(cls, text: str, *, where: str = "input.views") -> Views:
        clips, cross, crops = text.partition("x")
        if not (cross and text.isascii() and clips.isdecimal() and crops.isdecimal() and int(clips) > 0):
            raise ConfigError(f"{where}: is '{text}'; write clips x crops, e.g. 1x1 or 10x3")
        if int(crops) not in (1, 3, 5, 10):
            raise ConfigError(f"{where}: is '{text}'; the number of crops must be 1, 3, 5 or 10")
        return cls(int(clips), int(crops))

    def videos_per_batch(self, num_clips: int) -> int:
        """Returns the number of videos that together have `num_clips` clips, at least one."""
        return max(1, num_clips // (self.clips * self.crops))


@register_input
@dataclasses.dataclass(frozen=True)
class ClipInput(InputSpec):
    """Clips of RGB frames, uint8 in the loader and normalised on the device.

    Args:
        num_frames: frames of a clip.
        sampling: how the frames of a clip are chosen from the video.
            "segments"    one from each of num_frames equal parts (TSN, TSM); see `segment_frames`;
            "dense"       a stretch of the video, every `frame_stride`-th frame (PP-TSM dense, Video Swin);
            "dense_ends"  the same stretch with its last frame always among them (SlowFast, TimeSformer);
            "uniform"     evenly over the whole video, first and last frame included, never at random.
        frame_stride: distance of the frames of a dense clip, counted at `fps`.
        segment_frames: consecutive frames from each segment (StNet takes 5); num_frames is a multiple of it.
        fps: rate at which frames are counted; None counts the video's own frames.
        place: where the clips of a dense multi-clip evaluation lie; see `io.sample.windows`.
        short: handling of videos shorter than a clip; see `io.sample`.
        short_side_px: the frames' short side in evaluation, before the crop.
        crop_px: height and width of the model's input.
        force_ratio: long / short side forced on every frame (PaddleVideo squashes to 4 / 3); None keeps the
            shape.
        resize: method of `transforms.clip.resize`; "float" makes clips float32.
        snap: rounding of the crops' places in evaluation; see `transforms.clip.view_boxes`.
        mean, std: of 0..1 values, in `channel_order`.
        channel_order: "rgb" or "bgr", as in the model's training.
        views: the evaluation protocol, "clips x crops"; crops are 1, 3, 5 or 10.
        augment: random training transforms.
        frame_name: name of a frame in frame folders, e.g. "img_{:05d}.jpg", counted from 1; None takes all
            images by the numbers in their names.
    """

    num_frames: int = 8
    sampling: Literal["segments", "dense", "dense_ends", "uniform"] = "segments"
    frame_stride: int = 1
    segment_frames: int = 1
    fps: float | None = None
    place: sample.Place = "ends"
    short: sample.Short = "spread"
    short_side_px: int = 256
    crop_px: int = 224
    force_ratio: float | None = None
    resize: Resize = "torch"
    snap: Snap = "nearest"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: Literal["rgb", "bgr"] = "rgb"
    views: str = "1x1"
    augment: Augment = Augment()  # noqa: RUF009 (frozen)
    frame_name: str | None = None

    gives: ClassVar[frozenset[str]] = frozenset({"id", "video", "label"})

    def __post_init__(self) -> None:
        sizes = {
            "num_frames": self.num_frames,
            "frame_stride": self.frame_stride,
            "segment_frames": self.segment_frames,
            "short_side_px": self.short_side_px,
            "crop_px": self.crop_px,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"input.{name}: is {size}; it must be at least 1")
            if size > MOST:
                raise ConfigError(f"input.{name}: is {size}; it must be at most {MOST}")
        if self.num_frames % self.segment_frames:
            raise ConfigError(
                f"input.num_frames: {self.num_frames} is not a multiple of segment_frames={self.segment_frames}; "
                "it is the number of frames of all segments"
            )
        if self.segment_frames > 1 and self.sampling != "segments":
            raise ConfigError(
                f"input.segment_frames: is {self.segment_frames} with sampling '{self.sampling}'; "
                "set it only with sampling 'segments'"
            )
        if self.frame_stride > 1 and not self.sampling.startswith("dense"):
            raise ConfigError(
                f"input.frame_stride: is {self.frame_stride} with sampling '{self.sampling}'; "
                "set it only with 'dense' or 'dense_ends'"
            )
        if self.fps is not None and self.fps <= 0:
            raise ConfigError(f"input.fps: is {self.fps}; give a rate above 0, or null for the video's own")
        if self.short_side_px < self.crop_px:
            raise ConfigError(
                f"input.short_side_px: {self.short_side_px} is below crop_px={self.crop_px}; "
                "the crop must fit into the frame"
            )
        smallest = self.augment.short_side_range_px
        if smallest is not None and smallest[0] < self.crop_px:
            raise ConfigError(
                f"input.augment.short_side_range_px: begins at {smallest[0]}, below crop_px={self.crop_px}; "
                "the crop must fit into the frame"
            )
        if self.force_ratio is not None and self.force_ratio < 1:
            raise ConfigError(f"input.force_ratio: is {self.force_ratio}; it is long / short side, at least 1")
        if min(self.std) <= 0:
            raise ConfigError(f"input.std: is {self.std}; it must be above 0")
        self._check_views(Views.parse(self.views))

    def train_pipeline(self, *, num_classes: int | None = None) -> ClipPipeline:
        """Returns the pipeline of training samples; the label is one class, or multi-hot if `num_classes` is given."""
        return ClipPipeline(self, views=None, num_classes=num_classes)

    def eval_pipeline(
        self, views: str | None = None, *, num_classes: int | None = None, form: Form = "tensors"
    ) -> ClipPipeline:
        """Returns the pipeline of evaluation samples of `views` ("10x3"), by default the spec's views."""
        wanted = Views.parse(self.views if views is None else views)
        self._check_views(wanted)
        return ClipPipeline(self, views=wanted, num_classes=num_classes, form=form)

    def to_device(self, batch: Batch, device: Any) -> dict[str, Any]:
        from videozoo.transforms import tensors

        moved = tensors.moved(batch, device)
        video = moved["video"].flip(-3) if self.channel_order == "bgr" else moved["video"]
        return {**moved, "video": tensors.normalize(video, self.mean, self.std)}

    def to_arrays(self, batch: Batch) -> dict[str, Any]:
        video = batch["video"]
        if self.channel_order == "bgr":
            video = video[..., ::-1, :, :]
        return {**batch, "video": arrays.normalize(video, self.mean, self.std)}

    def model_sizes(self) -> dict[str, Any]:
        return {
            "num_frames": self.num_frames,
            "segment_frames": self.segment_frames,
            "crop_px": self.crop_px,
            "num_segments": self.num_frames // self.segment_frames,
        }

    def sample(self, num_ticks: int, *, num_clips: int = 1, rng: np.random.Generator | None = None) -> sample.Indices:
        """Returns the ticks `[num_clips num_frames]` of clips, out of `num_ticks`."""
        if self.sampling == "segments":
            return sample.segments(
                num_ticks,
                self.num_frames // self.segment_frames,
                segment_frames=self.segment_frames,
                num_clips=num_clips,
                rng=rng,
                short=self.short,
            )
        if self.sampling == "uniform":
            return sample.spaced(0, num_ticks - 1, self.num_frames, num_frames=num_ticks)
        return sample.windows(
            num_ticks,
            self.num_frames,
            stride=self.frame_stride,
            num_clips=num_clips,
            rng=rng,
            place=self.place,
            spacing="ends" if self.sampling == "dense_ends" else "stride",
            short=self.short,
        )

    def scaled_size(self, height: int, width: int, short_side_px: int | None = None) -> tuple[int, int]:
        """Returns (height, width) of a frame after its short side is scaled."""
        return scaled_size(height, width, short_side_px or self.short_side_px, force_ratio=self.force_ratio)

    def scaled(self, frames: Any, *, form: Form = "tensors") -> Any:
        """Returns frames `[t h w c]` as evaluation scales them, before the crop; scaled frames stay unchanged."""
        ops = clip_ops(form)
        clip = ops.clip_of(frames)
        return ops.frames_of(ops.resize(clip, self.scaled_size(*ops.size_of(clip)), method=self.resize))

    def _check_views(self, views: Views) -> None:
        if self.sampling == "uniform" and views.clips > 1:
            raise ConfigError(
                f"input.views: all {views.clips} clips of sampling 'uniform' would be equal; use 1x{views.crops}"
            )


@dataclasses.dataclass(frozen=True)
class ClipPipeline:
    """Turns a record into a sample: decodes, picks frames, crops; all randomness comes from `rng`.

    `views` is None in training: `video` is then one clip `[t c h w]`, otherwise `[v t c h w]`, clip by clip
    and in each clip crop by crop. If `device` is not the CPU, decoding and all later steps run on it.
    """

    spec: ClipInput
    views: Views | None
    num_classes: int | None = None
    device: str = "cpu"
    form: Form = "tensors"

    def __call__(
        self, record: ClipRecord, rng: np.random.Generator | None = None, reader: VideoReader | None = None
    ) -> dict[str, Any]:
        """Returns the sample of `record`: `video`, `id`, `label` if known; in evaluation also `damaged_frames`.

        Multi-label samples always have a label, zeros if no class is present.

        Args:
            rng: needed only in training.
            reader: the open video, if the caller reads several stretches of it.

        Raises:
            DecodeError: the video cannot be read.
            DataError: the record names a stretch, a frame or a class that does not exist.
        """
        if self.views is None and rng is None:
            raise ConfigError("input: a training pipeline draws at random; call it as pipeline(record, rng)")
        with contextlib.ExitStack() as stack:
            if reader is None:
                reader = stack.enter_context(self.open(record))
            clock = _Clock.of(record, reader.info, self.spec.fps)
            num_clips = 1 if self.views is None else self.views.clips
            ticks = self.spec.sample(clock.num_ticks, num_clips=num_clips, rng=rng if self.views is None else None)
            wanted, inverse = np.unique(ticks, return_inverse=True)
            frames = reader.frames_at(clock.times_s(wanted)).data
            damaged_frames = reader.damaged_frames
        places = inverse.reshape(ticks.shape)
        labels = record.labels
        ops = clip_ops(self.form)
        clip = ops.clip_of(frames)
        if self.views is None:
            assert rng is not None
            clip, flipped = self._augmented(ops, clip, rng)
            video = ops.stack_views([ops.pick(clip, places[0])])[0]
            labels = self.spec.augment.flipped_labels(labels) if flipped else labels
        else:
            video = self._viewed(ops, clip, places, self.views)
        made: dict[str, Any] = {"video": video, "id": record.id}
        if self.views is not None:
            made["damaged_frames"] = damaged_frames
        if labels or self.num_classes is not None:
            made["label"] = self._label(record, labels)
        return made

    def open(self, record: ClipRecord) -> VideoReader:
        """Opens the record's video for a `with` statement.

        Raises:
            DecodeError: the video cannot be read.
            DataError: it is a folder of frames without the frame rate that the spec needs.
        """
        if record.num_frames is None:
            return open_video(record.path, num_threads=1, device=self.device)
        rate = record.extra.get("fps")
        if rate is None and (self.spec.fps is not None or record.start_s is not None or record.end_s is not None):
            raise DataError(
                f"{record.path}: a folder of frames has no frame rate, and input.fps, start_s and end_s need "
                "one; set input.fps to null and leave out the times, or give the record extra['fps']"
            )
        return FrameFolder(
            record.path, num_frames=record.num_frames, template=self.spec.frame_name, fps=float(rate or 1.0)
        )

    def _augmented(self, ops: ClipOps, clip: Any, rng: np.random.Generator) -> tuple[Any, bool]:
        spec, augment = self.spec, self.spec.augment
        size = ops.size_of(clip)
        # The crop is drawn in the scaled frame, but cut from the original one, so that pixels are resized once.
        scaled = spec.scaled_size(*size, augment.draw_short_side(rng, spec.short_side_px))
        box = scale_box(augment.draw_box(rng, *scaled, spec.crop_px), scaled, size)
        clip = ops.resize(ops.crop(clip, box), (spec.crop_px, spec.crop_px), method=spec.resize)
        flipped = augment.draw_flip(rng)
        clip = ops.flip(clip) if flipped else clip
        colors = augment.draw_color(rng)
        return clip if colors is None else ops.color_jitter(clip, **colors), flipped

    def _viewed(self, ops: ClipOps, clip: Any, places: np.ndarray, views: Views) -> Any:
        spec = self.spec
        clip = ops.resize(clip, spec.scaled_size(*ops.size_of(clip)), method=spec.resize)
        boxes = view_boxes(*ops.size_of(clip), spec.crop_px, views.crops, snap=spec.snap)
        cropped = [ops.crop(clip, box) for box in boxes]
        return ops.stack_views([ops.pick(part, clip_places) for clip_places in places for part in cropped])

    def _label(self, record: ClipRecord, labels: tuple[int, ...]) -> np.ndarray:
        if self.num_classes is None:
            if len(labels) > 1:
                raise DataError(
                    f"{record.id}: has {len(labels)} labels {labels}; single-label data has one, "
                    "multi-label data needs num_classes"
                )
            return np.array(labels[0], np.int64)
        return multi_hot(labels, self.num_classes, where=record.id)


@dataclasses.dataclass(frozen=True)
class _Clock:
    """Ticks at the frame rate of a spec, over the stretch of video of a record."""

    start_s: float
    rate_hz: float
    num_ticks: int

    @classmethod
    def of(cls, record: ClipRecord, info: VideoInfo, fps: float | None) -> _Clock:
        start_s = record.start_s or 0.0
        end_s = info.duration_s if record.end_s is None else min(record.end_s, info.duration_s)
        if start_s > 0 and start_s >= end_s:
            raise DataError(
                f"{record.id}: the stretch {start_s}..{record.end_s} s lies outside the video, which lasts "
                f"{info.duration_s:.3f} s; correct the list"
            )
        rate_hz = fps or info.fps
        return cls(start_s, rate_hz, max(round((end_s - start_s) * rate_hz), 1))

    def times_s(self, ticks: sample.Indices) -> list[float]:
        """Returns the middle of each tick, so that rounding never selects the previous frame."""
        times: list[float] = (self.start_s + (ticks + 0.5) / self.rate_hz).tolist()
        return times


def build_input(args: Mapping[str, Any]) -> InputSpec:
    """Builds the input spec of a recipe's section or a checkpoint: `{"name": "clip", "num_frames": 8, ...}`.

    Raises:
        ConfigError: an unknown spec or field, or an invalid value.
    """
    fields = dict(args)
    name = fields.pop("name", "clip")
    spec: InputSpec = build(inputs.get(name), fields, where="input")
    return spec
