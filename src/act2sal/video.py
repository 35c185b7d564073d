"""Videos frame by frame: decode, turn upright, work, encode; the sound goes along."""

import io
import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from act2sal import progress
from act2sal.errors import InputError, MissingPackageError
from act2sal.images import written_whole

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer

logger = logging.getLogger("act2sal")

FrameFunction = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""(H, W, 3) uint8 RGB -> (H, W, 3) RGB or (H, W) grey, uint8."""


class Encoder(NamedTuple):
    """What encodes the frames of a container: its name in FFmpeg, and its options."""

    name: str
    options: dict[str, str]


_H264 = Encoder("libx264", {"crf": "18"})
_VP9 = Encoder("libvpx-vp9", {"crf": "24", "b:v": "0", "cpu-used": "5", "row-mt": "1"})

ENCODERS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9}
"""By the suffix of the file that is written. The crf of H.264 is our choice for a nearly lossless look, as is that of
VP9; a lower one gives a larger file."""

VIDEO_SUFFIXES = frozenset(
    {*ENCODERS, ".m4v", ".avi", ".mpg", ".mpeg", ".wmv", ".3gp", ".flv", ".m2ts", ".mts", ".ogv"}
)
"""Suffixes, in small letters, that are taken for a video when it is read."""

FALLBACK_RATE = Fraction(25)
"""Frames per second of a video that does not tell."""

_LIMITED_RANGE = 1  # of FFmpeg's AVColorRange: luma from 16 to 235, what players expect
_UNSPECIFIED_MATRIX = 2  # of FFmpeg's AVColorSpace
_RGB_MATRIX = 0


class VideoError(InputError):
    """A video that cannot be read or written; the message is one line that names it."""


def predict_video(
    source: Path, out: Path, frame_function: FrameFunction, *, overwrite: bool = False, quiet: bool = False
) -> int:
    """Write the video `source` anew with `frame_function` applied to each frame.

    Frames keep their times; they are turned upright first, and sides of odd length grow by a pixel, as 4:2:0 video
    needs even ones. The sound is copied as it is, where the new container can hold it. Damaged frames are left out.
    `out` appears whole or not at all.

    Args:
        source: any video that FFmpeg reads.
        out: its suffix says the container, see `ENCODERS`; folders are made.
        frame_function: what is done to a frame, see `FrameFunction`.
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
    if out.suffix.lower() not in ENCODERS:
        raise VideoError(f"{out}: a video is written as {', '.join(ENCODERS)}")
    if out.exists() and source.exists() and out.samefile(source):
        raise VideoError(f"{out} is the video itself and would be replaced; write to another file")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    try:
        looked = _look(source)
        with (
            written_whole(out) as temporary,
            av.open(str(source)) as reader,
            av.open(str(temporary), "w") as writer,
            progress.bar(source.name, total=looked.frames, quiet=quiet) as advance,
        ):
            pictures = reader.streams.best("video")
            target = _add_pictures(writer, pictures, looked, ENCODERS[out.suffix.lower()])
            sounds = _add_sounds(reader, writer, source)
            written = 0
            for packet in reader.demux(pictures, *(reader.streams[index] for index in sounds)):
                if packet.stream.index in sounds:
                    _copy(packet, sounds[packet.stream.index], writer)
                    continue
                for frame in _decoded(packet, source):
                    pixels = _worked(frame_function, _upright(frame, looked))
                    writer.mux(target.encode(_encodable(pixels, frame, target, number=written)))
                    written += 1
                    advance()
            writer.mux(target.encode())
            return written
    except av.FFmpegError as error:
        raise VideoError(f"{source}: {_reason(error)}") from error


def require_video() -> Any:
    """The library that reads and writes videos.

    Raises MissingPackageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError('videos need the extra "video": pip install "act2sal[video]"') from error
    return av


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

    Raises VideoError: there is no picture in it.
    """
    av = require_video()
    with av.open(str(source)) as reader:
        stream = reader.streams.best("video")
        if stream is None:
            raise VideoError(f"{source}: holds no video stream")
        first = next(reader.decode(stream), None)
        if first is None:
            raise VideoError(f"{source}: no frame of it can be decoded")
        frames, turns = stream.frames, round(first.rotation / 90)
    if frames == 0:
        with av.open(str(source)) as reader:
            stream = reader.streams.best("video")
            frames = sum(packet.size > 0 for packet in reader.demux(stream))
    return _Looked(frames, turns, first.height, first.width)


def _add_pictures(
    writer: "OutputContainer", pictures: "VideoStream", looked: _Looked, encoder: Encoder
) -> "VideoStream":
    """The stream of upright frames: rate, times, shape of pixels and colours as those of `pictures`."""
    rate = pictures.average_rate or pictures.guessed_rate or FALLBACK_RATE
    target = cast("VideoStream", writer.add_stream(encoder.name, rate=rate, options=encoder.options))
    target.height, target.width = (side + side % 2 for side in looked.upright)
    target.pix_fmt = "yuv420p"
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


def _add_sounds(
    reader: "InputContainer", writer: "OutputContainer", source: Path
) -> dict[int, "AudioStream"]:
    """Streams for the sound that the new container can hold, by the number of the old one."""
    sounds = {}
    for sound in reader.streams.audio:
        if _holds(writer, sound):
            sounds[sound.index] = writer.add_stream_from_template(sound)
        else:
            logger.warning("%s: the new container cannot hold its sound, which is left out", source)
    return sounds


def _holds(writer: "OutputContainer", sound: "AudioStream") -> bool:
    """Whether the container takes the sound, by a header in memory: its list of codecs promises too much."""
    if sound.codec_context is None:  # FFmpeg does not know the codec
        return False
    av = require_video()
    try:
        with av.open(io.BytesIO(), "w", format=writer.format.name) as trial:
            trial.add_stream_from_template(sound)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _copy(packet: "Packet", sound: "AudioStream", writer: "OutputContainer") -> None:
    if packet.dts is not None:  # else it is the empty one at the end
        packet.stream = sound
        writer.mux(packet)


def _decoded(packet: "Packet", source: Path) -> list["VideoFrame"]:
    try:
        return packet.decode()
    except require_video().InvalidDataError:
        logger.warning("%s: a damaged frame is left out", source)
        return []


def _upright(frame: "VideoFrame", looked: _Looked) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB.

    Raises VideoError: the size of the frames changes on the way.
    """
    if (frame.height, frame.width) != (looked.height, looked.width):
        raise VideoError(
            f"the frames change from {looked.width} x {looked.height} to {frame.width} x {frame.height}"
        )
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), looked.quarter_turns))


def _worked(frame_function: FrameFunction, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the function makes of a frame, (H, W, 3) uint8 with even sides: the last row and column are repeated."""
    height, width = frame.shape[:2]
    pixels = frame_function(frame)
    if pixels.dtype != np.uint8 or pixels.shape not in ((height, width), (height, width, 3)):
        raise ValueError(
            f"a frame {frame.shape} became {pixels.shape} {pixels.dtype}, which a video cannot hold"
        )
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encodable(
    pixels: NDArray[np.uint8], old: "VideoFrame", target: "VideoStream", *, number: int
) -> "VideoFrame":
    """A frame for the encoder, at the time of the `old` one; `number` tells the time where that has none."""
    matrix = target.codec_context.colorspace
    rgb = require_video().VideoFrame.from_ndarray(pixels, format="rgb24")
    frame = rgb.reformat(
        format=target.pix_fmt, dst_colorspace=matrix, src_color_range=2, dst_color_range=_LIMITED_RANGE
    )
    if old.pts is None:
        frame.pts, frame.time_base = number, 1 / target.codec_context.framerate
    else:
        frame.pts, frame.time_base = old.pts, old.time_base
    return frame
