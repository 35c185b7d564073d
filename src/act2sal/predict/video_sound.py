"""The sound of a video: copied where the new container holds it, else encoded anew, else left out."""

import io
import logging
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from act2sal.errors import MissingPackageError

if TYPE_CHECKING:
    from av import AudioStream, Packet
    from av.container import InputContainer, OutputContainer

logger = logging.getLogger("act2sal")

ENCODER_OF = {"webm": "libopus"}
"""What sound is encoded by, by FFmpeg's name of the container; all others take AAC."""

RATES = {
    "aac": (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000),
    "libopus": (48_000, 24_000, 16_000, 12_000, 8_000),
}
"""Samples per second that the encoders take; sound of another rate is resampled to 48,000."""

_FALLBACK_RATE = 48_000
_TRIED = 64  # packets: a header alone, or the list of codecs of a container, promises too much
_TOLD = ("language", "title")


def require_video() -> Any:
    """The library that reads and writes videos.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError('videos need the extra "video": pip install "act2sal[video]"') from error
    return av


class Sound(Protocol):
    """Takes the packets of one stream of sound into the new video."""

    def put(self, packet: "Packet") -> None:
        """Take one; that at the end is empty."""


class CopiedSound:
    """The packets as they are."""

    def __init__(self, old: "AudioStream", writer: "OutputContainer") -> None:
        self.writer = writer
        self.stream = writer.add_stream_from_template(old)

    def put(self, packet: "Packet") -> None:
        """As `Sound`."""
        if packet.dts is not None:  # else it is the empty one at the end
            packet.stream = self.stream
            self.writer.mux(packet)


class EncodedSound:
    """The samples, encoded anew."""

    def __init__(self, old: "AudioStream", writer: "OutputContainer", *, stereo: bool = False) -> None:
        av = require_video()
        name = ENCODER_OF.get(writer.format.name, "aac")
        rate = old.rate if old.rate in RATES[name] else _FALLBACK_RATE
        layout = "stereo" if stereo else old.layout.name
        self.writer = writer
        self.samples = 0
        self.stream = cast("AudioStream", writer.add_stream(name, rate=rate, layout=layout))
        encoder = self.stream.codec_context
        encoder.open()
        self.resampler = av.AudioResampler(encoder.format, encoder.layout, rate, encoder.frame_size or None)

    def put(self, packet: "Packet") -> None:
        """As `Sound`; a packet that is damaged is left out."""
        av = require_video()
        try:
            frames: list[Any] = packet.decode()
        except av.InvalidDataError:
            frames = []
        if packet.dts is None and packet.size == 0:
            frames = [*frames, None]
        for frame in frames:
            for ready in self.resampler.resample(frame):
                if ready.pts is None:  # the old container tells no times
                    ready.pts, ready.time_base = self.samples, Fraction(1, ready.sample_rate)
                self.samples += ready.samples
                self.writer.mux(self.stream.encode(ready))
        if None in frames:
            self.writer.mux(self.stream.encode(None))


def add_sounds(reader: "InputContainer", writer: "OutputContainer", source: Path) -> dict[int, Sound]:
    """What takes the sound into the new container, by the numbers of the old streams; found out by trial.

    Args:
        reader: of the old video; no packet of it is read.
        writer: of the new one; gets the streams.
        source: the old video, which is opened again for the trials.
    """
    sounds: dict[int, Sound] = {}
    told = set()
    for old in reader.streams.audio:
        way = _first_way(source, old.index, writer.format.name)
        if way is None:
            told.add("left out")
            continue
        if way is not CopiedSound:
            told.add("encoded anew")
        sound = way(old, writer)
        sound.stream.metadata.update({key: old.metadata[key] for key in _TOLD if key in old.metadata})
        sounds[old.index] = sound
    if told:
        how = " or ".join(sorted(told))
        logger.warning("%s: the new container cannot hold its sound, which is %s", source, how)
    return sounds


def _stereo(old: "AudioStream", writer: "OutputContainer") -> EncodedSound:
    return EncodedSound(old, writer, stereo=True)


def _first_way(source: Path, number: int, container: str) -> Any:
    """The best of the ways in which the stream `number` can go into the container; None: none."""
    ways = (CopiedSound, EncodedSound, _stereo)
    return next((way for way in ways if _works(way, source, number, container)), None)


def _works(way: Any, source: Path, number: int, container: str) -> bool:
    """Whether it does for the first packets, written in memory."""
    av = require_video()
    try:
        with (
            av.open(str(source)) as reader,
            av.open(io.BytesIO(), "w", format=container) as writer,
        ):
            old = reader.streams[number]
            if old.codec_context is None:  # FFmpeg does not know the codec
                return False
            sound = way(old, writer)
            writer.start_encoding()
            for packet in _first_packets(reader, old):
                sound.put(packet)
    except (av.FFmpegError, ValueError, TypeError, AttributeError, RuntimeError):
        return False
    return True


def _first_packets(reader: "InputContainer", old: Any) -> Iterator["Packet"]:
    return islice(cast("Iterator[Packet]", reader.demux(old)), _TRIED)
