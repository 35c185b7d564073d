"""Videos frame by frame: decode, turn upright, work, encode; the sound goes along."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from act2sal.data.images import refuse_larger, written_whole
from act2sal.data.origin import Origin, note, video_comment
from act2sal.data.transparency import WHITE, Opacity
from act2sal.errors import InputError
from act2sal.predict.video_sound import Sound, add_sounds, require_video
from act2sal.runtime import progress

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer

logger = logging.getLogger("act2sal")


class Frame(NamedTuple):
    """A frame, upright.

    pixels: (H, W, 3) uint8 RGB, what is transparent laid on a plain ground; time: in seconds, None where the video
    does not tell; opacity: its transparency, None where it has none.
    """

    pixels: NDArray[np.uint8]
    time: float | None
    opacity: Opacity | None = None


class TransparentFrames:
    """Makes the transparent frames of one film, all before the same ground.

    It is the one that the first frame with anything in it stands out from (`Opacity.level_behind`); a ground chosen
    anew for each frame would flicker, and the maps with it.
    """

    def __init__(self) -> None:
        self._level: int | None = None

    def frame(self, rgba: NDArray[np.uint8], time: float | None) -> Frame:
        """A frame of pixels (H, W, 4) uint8."""
        opacity = Opacity.of(rgba)
        if self._level is None:
            self._level = opacity.level_behind()
        return Frame(opacity.laid_on(WHITE if self._level is None else self._level), time, opacity)


FramesFunction = Callable[[Iterable[Frame]], Iterable[NDArray[np.uint8]]]
"""Turns all frames, in order, into as many pictures (H, W, 3) RGB, (H, W) grey or, in a transparent video, (H, W, 4)
RGBA, uint8; it may look ahead."""


class VideoEncoder(NamedTuple):
    """What encodes the frames of a container: its name in FFmpeg, its options, and how it stores pixels."""

    name: str
    options: dict[str, str]
    pixels: str = "yuv420p"


_H264 = VideoEncoder("libx264", {"crf": "18"})
_VP9 = VideoEncoder("libvpx-vp9", {"crf": "24", "b:v": "0", "cpu-used": "5", "row-mt": "1"})

ENCODERS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
"""By the suffix of the file that is written. The crf of H.264 is our choice for a nearly lossless look, as is that of
VP9; a lower one gives a larger file."""

_VP9_ALPHA = VideoEncoder(_VP9.name, _VP9.options | {"auto-alt-ref": "0"}, "yuva420p")
_PRORES_4444 = VideoEncoder("prores_ks", {"profile": "4", "alpha_bits": "16"}, "yuva444p10le")

ALPHA_ENCODERS = {".webm": _VP9_ALPHA, ".mkv": _VP9_ALPHA, ".mov": _PRORES_4444}
"""The same for videos with transparency: browsers take the first, programs for editing the last."""

VIDEO_SUFFIXES = frozenset(
    {*ENCODERS, ".m4v", ".avi", ".mpg", ".mpeg", ".wmv", ".3gp", ".flv", ".m2ts", ".mts", ".ogv"}
)
"""Suffixes, in small letters, that are taken for a video when it is read."""

FALLBACK_RATE = Fraction(25)
"""Frames per second of a video that does not tell."""

_OF_THE_FILE = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "encoded_by", "software", "duration"}
    | {"handler_name", "vendor_id", "timecode"}
)
"""Tags, in small letters, that are no longer true of another file."""

_LIMITED_RANGE = 1  # of FFmpeg's AVColorRange: luma from 16 to 235, what players expect
_UNSPECIFIED_MATRIX = 2  # of FFmpeg's AVColorSpace
_RGB_MATRIX = 0


class VideoError(InputError):
    """A video that cannot be read or written; the message is one line that names it."""


def rewrite_video(
    source: Path,
    out: Path,
    work: FramesFunction,
    *,
    alpha: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Write the video `source` anew with other frames.

    Frames keep their times; they are turned upright first, and sides of odd length grow by a pixel, as 4:2:0 video
    needs even ones. Title, date and other tags stay. The sound is copied where the new container can hold it, else
    encoded anew. Damaged frames are left out. `out` appears whole or not at all.

    Args:
        source: any video that FFmpeg reads.
        out: its suffix says the container, see `ENCODERS`; folders are made.
        work: makes the frames, see `FramesFunction`.
        alpha: whether the frames are RGBA; the container is then one of `ALPHA_ENCODERS`.
        overwrite: replace `out` if it is there already.
        quiet: no progress bar.

    Returns:
        The number of frames written.

    Raises:
        VideoError: no video, damaged from the start, or a container that cannot be written.
        FileExistsError: `out` is there already and `overwrite` is not set.
        MissingPackageError: the extra `video` is not installed.
    """
    av = require_video()
    source, out = Path(source), Path(out)
    _refuse_target(source, out, alpha=alpha, overwrite=overwrite)
    encoder = (ALPHA_ENCODERS if alpha else ENCODERS)[out.suffix.lower()]
    try:
        looked = _look(source)
        with (
            written_whole(out) as temporary,
            av.open(str(source)) as reader,
            av.open(str(temporary), "w") as writer,
            progress.bar(source.name, total=looked.frames, quiet=quiet) as advance,
        ):
            pictures = reader.streams.best("video")
            tags = kept_tags(reader.metadata)
            comments = [tags.pop(key) for key in list(tags) if key.lower() == "comment"]
            writer.metadata.update(tags, comment=video_comment("".join(comments[:1]), Origin("video")))
            target = _add_pictures(writer, pictures, looked, encoder)
            sounds = add_sounds(reader, writer, source)
            times: deque[VideoFrame] = deque()
            frames = _frames(reader, pictures, sounds, source, looked, times)
            written = 0
            for made in work(frames):
                pixels = _fitting(made, looked, alpha=alpha)
                writer.mux(target.encode(_encodable(pixels, times.popleft(), target, number=written)))
                written += 1
                advance()
            writer.mux(target.encode())
        note(out)
        return written
    except av.FFmpegError as error:
        raise VideoError(f"{source}: {_reason(error)}") from error


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Those that describe a video, such as its title and date, and not its file."""
    return {key: value for key, value in tags.items() if key.lower() not in _OF_THE_FILE}


def _refuse_target(source: Path, out: Path, *, alpha: bool, overwrite: bool) -> None:
    suffix = out.suffix.lower()
    if suffix not in ENCODERS:
        raise VideoError(f"{out}: a video is written as {', '.join(ENCODERS)}")
    if alpha and suffix not in ALPHA_ENCODERS:
        raise VideoError(f"{out}: {suffix} holds no transparency; possible: {', '.join(ALPHA_ENCODERS)}")
    if out.exists() and source.exists() and out.samefile(source):
        raise VideoError(f"{out} is the video itself and would be replaced; write to another file")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    if out.is_dir():
        raise VideoError(f"{out} is a folder, and a video is to be written")


def _frames(
    reader: "InputContainer",
    pictures: "VideoStream",
    sounds: dict[int, Sound],
    source: Path,
    looked: "_Looked",
    times: "deque[VideoFrame]",
) -> Iterator[Frame]:
    """The frames; `times` gets them as they were decoded, and the sound goes its way in between."""
    damaged, last, resized, clear = 0, None, False, TransparentFrames()
    for packet in reader.demux(pictures, *(reader.streams[index] for index in sounds)):
        if packet.stream.index in sounds:
            _put(sounds, packet, source)
            continue
        decoded = _decoded(packet)
        damaged += decoded is None
        for frame in decoded or []:
            if frame.pts is not None and last is not None and frame.pts <= last:
                frame.pts = last + 1  # times that are damaged would end the new video
            last = frame.pts if frame.pts is not None else last
            resized |= (frame.height, frame.width) != (looked.height, looked.width)
            times.append(frame)
            shown = _upright(frame, looked)
            transparent = shown.shape[2] == 4
            yield clear.frame(shown, frame.time) if transparent else Frame(shown, frame.time)
    if damaged:
        what = "a damaged frame is" if damaged == 1 else f"{damaged} damaged frames are"
        logger.warning("%s: %s left out", source, what)
    if resized:
        logger.warning("%s: the size of its frames changes; all are brought to that of the first", source)


def _put(sounds: dict[int, Sound], packet: "Packet", source: Path) -> None:
    """A packet of sound; where the container takes no more of it, the frames go on without it."""
    index = packet.stream.index
    try:
        sounds[index].put(packet)
    except require_video().FFmpegError:
        logger.warning("%s: its sound breaks off, as the new container takes no more of it", source)
        sounds[index] = _Silence()


class _Silence:
    def put(self, packet: "Packet") -> None:
        """Nothing."""


def _reason(error: Exception) -> str:
    detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be used as a video ({detail[0].lower()}{detail[1:]})"


class _Looked(NamedTuple):
    """What the first frame tells: number of frames, quarter turns that make them upright, their size as stored."""

    frames: int
    quarter_turns: int
    height: int
    width: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the turn."""
        return (self.width, self.height) if self.quarter_turns % 2 else (self.height, self.width)


def _look(source: Path) -> _Looked:
    """Open a video once before the work. Frames are counted, without decoding, where the container does not tell.

    Raises:
        VideoError: there is no picture in it.
        ImageError: a frame has more pixels than `images.limit_pixels` allows.
    """
    av = require_video()
    with av.open(str(source)) as reader:
        stream = reader.streams.best("video")
        if stream is None:
            raise VideoError(f"{source}: holds no video stream")
        first = next(reader.decode(stream), None)
        if first is None:
            raise VideoError(f"{source}: no frame of it can be decoded")
        refuse_larger(source, (first.width, first.height))
        frames, turns = stream.frames, round(first.rotation / 90)
    if frames == 0:
        with av.open(str(source)) as reader:
            stream = reader.streams.best("video")
            frames = sum(packet.size > 0 for packet in reader.demux(stream))
    return _Looked(frames, turns, first.height, first.width)


def _add_pictures(
    writer: "OutputContainer", pictures: "VideoStream", looked: _Looked, encoder: VideoEncoder
) -> "VideoStream":
    """The stream of upright frames: rate, times, shape of pixels and colours as those of `pictures`."""
    rate = pictures.average_rate or pictures.guessed_rate or FALLBACK_RATE
    target = cast("VideoStream", writer.add_stream(encoder.name, rate=rate, options=encoder.options))
    target.height, target.width = (side + side % 2 for side in looked.upright)
    target.pix_fmt = encoder.pixels
    old, new = pictures.codec_context, target.codec_context
    new.time_base = pictures.time_base or 1 / rate
    if old.sample_aspect_ratio:
        turned = looked.quarter_turns % 2
        new.sample_aspect_ratio = 1 / old.sample_aspect_ratio if turned else old.sample_aspect_ratio
    new.color_range = _LIMITED_RANGE
    new.colorspace = old.colorspace if old.colorspace != _RGB_MATRIX else _UNSPECIFIED_MATRIX
    new.color_primaries = old.color_primaries
    new.color_trc = old.color_trc
    return target


def _decoded(packet: "Packet") -> list["VideoFrame"] | None:
    """None where the packet is damaged."""
    try:
        return packet.decode()
    except require_video().InvalidDataError:
        return None


def _upright(frame: "VideoFrame", looked: _Looked) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB, or (H, W, 4) RGBA where the frame holds transparency; of the size of the first one."""
    if (frame.height, frame.width) != (looked.height, looked.width):
        frame = frame.reformat(looked.width, looked.height)
    clear = len(frame.format.components) in (2, 4)  # grey or colours, and alpha
    return np.ascontiguousarray(
        np.rot90(frame.to_ndarray(format="rgba" if clear else "rgb24"), looked.quarter_turns)
    )


def _fitting(pixels: NDArray[np.uint8], looked: _Looked, *, alpha: bool) -> NDArray[np.uint8]:
    """A frame as it is encoded, (H, W, 3 or 4) uint8 with even sides: the last row and column are repeated."""
    height, width = looked.upright
    shapes = [(height, width, 4)] if alpha else [(height, width), (height, width, 3)]
    if pixels.dtype != np.uint8 or pixels.shape not in shapes:
        raise ValueError(
            f"a frame {(height, width)} became {pixels.shape} {pixels.dtype}, which a video cannot hold"
        )
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encodable(
    pixels: NDArray[np.uint8], old: "VideoFrame", target: "VideoStream", *, number: int
) -> "VideoFrame":
    """A frame for the encoder, at the time of the `old` one; `number` tells the time where that has none."""
    matrix = target.codec_context.colorspace
    rgb = require_video().VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
    frame = rgb.reformat(
        format=target.pix_fmt, dst_colorspace=matrix, src_color_range=2, dst_color_range=_LIMITED_RANGE
    )
    if old.pts is None:
        frame.pts, frame.time_base = number, 1 / target.codec_context.framerate
    else:
        frame.pts, frame.time_base = old.pts, old.time_base
    return frame
