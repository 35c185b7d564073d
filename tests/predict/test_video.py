"""Videos in, videos out: frames, times, sound, turns, and what is left when it goes wrong."""

import shutil
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from act2sal.cli import main
from act2sal.data.origin import Origin, video_origin
from act2sal.errors import MissingPackageError
from act2sal.predict import video, video_sound
from act2sal.predict.video import (
    ALPHA_ENCODERS,
    ENCODERS,
    VIDEO_SUFFIXES,
    Frame,
    VideoError,
    rewrite_video,
)
from tiny import files_of

WARM, COLD, DARK = (200, 80, 60), (20, 160, 220), (30, 30, 30)
RATE = Fraction(30_000, 1001)
FRAMES = 8
DATE = "2020-01-02T03:04:05.000000Z"


def predict_video(
    source: Path,
    out: Path,
    look: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Write the video `source` anew with `look` applied to each frame."""

    def work(frames: Iterable[Frame]) -> Iterator[NDArray[np.uint8]]:
        return (look(frame.pixels) for frame in frames)

    return rewrite_video(source, out, work, overwrite=overwrite, quiet=quiet)


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """Cold on the left, warm on the right, dark at the bottom: no turn and no mirror leaves it as it is."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:, : width // 2], frame[:, width // 2 :] = COLD, WARM
    frame[height * 3 // 4 :] = DARK
    return frame


def make_clip(
    path: Path,
    *,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    sound: str | None = "aac",
    times: list[int] | None = None,
    pix_fmt: str = "yuv420p",
    matrix: int = 2,
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Eight frames at 29.97 per second and, unless `sound` is None, a quarter of a second of noise."""
    with av.open(str(path), "w") as writer:
        writer.metadata.update(tags or {})
        pictures = writer.add_stream(codec, rate=RATE)
        pictures.height, pictures.width, pictures.pix_fmt = *size, pix_fmt
        pictures.codec_context.time_base = 1 / RATE
        pictures.codec_context.colorspace = matrix
        voice = writer.add_stream(sound, rate=48_000) if sound else None
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(scene(*size), format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix)
            frame.pts, frame.time_base = times[number] if times else number, 1 / RATE
            writer.mux(pictures.encode(frame))
        writer.mux(pictures.encode())
        if voice is not None:
            noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 12_000)).astype(np.float32)
            format = "flt" if sound == "libopus" else "fltp"
            values = noise.T.reshape(1, -1).copy() if format == "flt" else noise
            samples = av.AudioFrame.from_ndarray(values, format=format, layout="stereo")
            samples.sample_rate = 48_000
            writer.mux(voice.encode(samples))
            writer.mux(voice.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of 48 x 64 with AAC; not to be changed."""
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def frames_of(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as reader:
        return [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as reader:
        return [frame.time for frame in reader.decode(video=0)]


def sound_of(path: Path) -> list[bytes]:
    """The packets of sound, as they lie in the file."""
    with av.open(str(path)) as reader:
        return [bytes(packet) for packet in reader.demux(audio=0) if packet.size]


def same(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frame


def negative(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return 255 - frame


def near(frame: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    """Alike but for what compression does at edges."""
    return frame.shape == expected.shape and float(np.abs(frame.astype(int) - expected).mean()) < 5


@pytest.mark.parametrize("suffix", sorted(ENCODERS))
def test_every_container(clip: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "new" / f"out{suffix}"
    assert predict_video(clip, out, negative, quiet=True) == FRAMES
    frames = frames_of(out)
    assert len(frames) == FRAMES
    assert all(near(frame, 255 - scene(48, 64)) for frame in frames)
    with av.open(str(out)) as reader:
        assert float(reader.streams.video[0].average_rate) == pytest.approx(float(RATE), rel=1e-3)
    np.testing.assert_allclose(times_of(out), times_of(clip), atol=1e-3)
    assert set(files_of(tmp_path)) == {f"new/out{suffix}"}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_sound_is_copied_packet_by_packet(clip: Path, tmp_path: Path, suffix: str) -> None:
    predict_video(clip, tmp_path / f"out{suffix}", same, quiet=True)
    assert len(sound_of(clip)) > 5
    assert sound_of(tmp_path / f"out{suffix}") == sound_of(clip)


def sounding(path: Path, codec: str, *, rate: int = 48_000, layout: str = "stereo") -> Path:
    """A clip whose sound, half a second long, is coded by `codec`."""
    video = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".wmv": "wmv2", ".mpg": "mpeg2video"}
    with av.open(str(path), "w") as writer:
        pictures = writer.add_stream(video.get(path.suffix, "libx264"), rate=24)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        voice = writer.add_stream(codec, rate=rate, layout=layout)
        voice.bit_rate = 96_000
        voice.codec_context.open()
        for _ in range(12):
            writer.mux(pictures.encode(av.VideoFrame.from_ndarray(scene(48, 64))))
        channels = voice.codec_context.layout.nb_channels
        tone = np.sin(np.arange(rate // 2) * 2 * np.pi * 440 / rate) * 0.5
        samples = av.AudioFrame.from_ndarray(
            np.repeat(tone[:, None], channels, 1).reshape(1, -1).astype(np.float32), "flt", layout
        )
        samples.sample_rate, samples.pts, samples.time_base = rate, 0, Fraction(1, rate)
        encoder = voice.codec_context
        resampler = av.AudioResampler(encoder.format, encoder.layout, rate, encoder.frame_size or None)
        for part in [*resampler.resample(samples), *resampler.resample(None), None]:
            writer.mux(voice.encode(part))
        writer.mux(pictures.encode())
    return path


@pytest.mark.parametrize(
    ("codec", "source", "suffix", "expected"),
    [
        ("pcm_s16le", ".avi", ".mp4", "aac"),
        ("pcm_s16le", ".mkv", ".webm", "opus"),
        ("pcm_s24le", ".mov", ".mov", "pcm_s24le"),
        ("flac", ".mkv", ".webm", "opus"),
        ("libmp3lame", ".mkv", ".webm", "opus"),
        ("ac3", ".mkv", ".webm", "opus"),
        ("wmav2", ".wmv", ".mp4", "aac"),
        ("mp2", ".mpg", ".webm", "opus"),
        ("libopus", ".webm", ".mov", "aac"),
        ("libopus", ".webm", ".mp4", "opus"),
    ],
)
def test_sound_that_does_not_fit_is_encoded_anew_with_one_line(
    codec: str, source: str, suffix: str, expected: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = sounding(tmp_path / f"clip{source}", codec)
    out = tmp_path / f"out{suffix}"
    assert predict_video(clip, out, same, quiet=True) == 12
    with av.open(str(out)) as reader:
        (voice,) = reader.streams.audio
        assert voice.codec_context.codec.canonical_name == expected
        heard = [frame.to_ndarray().astype(np.float64) for frame in reader.decode(voice)]
        seconds = sum(frame.samples for frame in reader_frames(out)) / voice.rate
    assert seconds == pytest.approx(0.5, abs=0.1)
    assert max(np.abs(part).max() for part in heard) > 0.2
    copied = expected in codec
    line = f"{clip}: the new container cannot hold its sound, which is encoded anew"
    assert [record.message for record in caplog.records] == [line] * (not copied)


def reader_frames(path: Path) -> list[av.AudioFrame]:
    with av.open(str(path)) as reader:
        return list(reader.decode(audio=0))


def test_many_channels_at_a_high_rate_come_along(tmp_path: Path) -> None:
    clip = sounding(tmp_path / "clip.mkv", "flac", rate=192_000, layout="5.1")
    for suffix in (".webm", ".mp4"):
        predict_video(clip, tmp_path / f"out{suffix}", same, quiet=True)
        assert sum(frame.samples for frame in reader_frames(tmp_path / f"out{suffix}")) > 20_000


def test_sound_that_nobody_knows_is_left_out_with_one_line(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video_sound, "_works", lambda *arguments: False)
    predict_video(clip, tmp_path / "out.mp4", same, quiet=True)
    assert [record.message for record in caplog.records] == [
        f"{clip}: the new container cannot hold its sound, which is left out"
    ]
    with av.open(str(tmp_path / "out.mp4")) as reader:
        assert not reader.streams.audio


def test_sound_that_breaks_off_costs_no_frame(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: object, packet: object) -> None:
        raise av.ArgumentError(22, "no")

    monkeypatch.setattr(video_sound, "_works", lambda *arguments: True)
    monkeypatch.setattr(video_sound.CopiedSound, "put", broken)
    assert predict_video(clip, tmp_path / "out.mp4", same, quiet=True) == FRAMES
    assert [record.message for record in caplog.records] == [
        f"{clip}: its sound breaks off, as the new container takes no more of it"
    ]


@pytest.mark.parametrize("suffix", sorted(ENCODERS))
def test_title_and_date_are_kept(tmp_path: Path, suffix: str) -> None:
    told = {"title": "A bird", "comment": "At dawn", "creation_time": DATE}
    source = make_clip(tmp_path / "clip.mp4", sound=None, tags=told)
    predict_video(source, tmp_path / f"out{suffix}", same, quiet=True)
    with av.open(str(tmp_path / f"out{suffix}")) as reader:
        tags = reader.metadata
    assert (tags["title"], tags["creation_time"]) == ("A bird", DATE)
    comment = next(value for key, value in tags.items() if key.lower() == "comment")
    assert comment.startswith("At dawn\nact2sal ")
    assert video_origin(tmp_path / f"out{suffix}") == Origin("video")
    assert video_origin(source) is None


@pytest.mark.parametrize("noted", [True, False])
def test_videos_that_were_made_are_no_input(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    if not noted:  # a file system that keeps no attributes
        monkeypatch.setattr("act2sal.predict.video.note", lambda path: None)
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, tmp_path / "clip.mp4")
    options = ["--out", ".", "--quiet", "--method", "rbd", "--kind", "mask", "map", "--skip-existing"]
    for inputs in (".", "*.mp4"):
        assert main(["predict", inputs, *options]) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "clip.map.mp4",
            "clip.mask.mp4",
            "clip.mp4",
        ]


@pytest.mark.parametrize("suffix", sorted(ALPHA_ENCODERS))
def test_transparency(clip: Path, tmp_path: Path, suffix: str) -> None:
    made = np.zeros((48, 64, 4), np.uint8)
    made[8:24, 8:32] = (*WARM, 255)
    made[24:40, 8:32] = (*WARM, 128)
    out = tmp_path / f"out{suffix}"
    rewrite_video(clip, out, lambda frames: (made for _ in frames), alpha=True, quiet=True)
    with av.open(str(out)) as reader:
        stream = reader.streams.video[0]
        # FFmpeg's own decoder of VP9 knows nothing of the second, grey stream that holds the transparency
        decoder = stream.codec_context
        if suffix != ".mov":
            assert stream.metadata["alpha_mode"] == "1"
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        else:
            assert (stream.codec_context.name, stream.codec_context.profile) == ("prores", "4444")
        frames = [frame for packet in reader.demux(stream) for frame in decoder.decode(packet)]
    assert len(frames) == FRAMES
    shown = frames[3].to_ndarray(format="rgba").astype(int)
    assert shown[2, 2, 3] == 0
    for row, alpha in ((16, 255), (32, 128)):
        assert np.abs(shown[row, 20] - (*WARM, alpha)).max() <= 6


def test_a_transparent_video_is_seen_on_a_ground_and_with_its_alpha(clip: Path, tmp_path: Path) -> None:
    made = np.zeros((48, 64, 4), np.uint8)
    made[:, 32:] = (*WARM, 255)
    source = tmp_path / "clip.mov"
    rewrite_video(clip, source, lambda frames: (made for _ in frames), alpha=True, quiet=True)
    seen: list[Frame] = []

    def look(frames: Iterable[Frame]) -> Iterable[NDArray[np.uint8]]:
        for frame in frames:
            seen.append(frame)
            yield frame.pixels

    rewrite_video(source, tmp_path / "out.mp4", look, quiet=True)
    opacity = seen[0].opacity
    assert opacity is not None
    assert (opacity.alpha[20, 10], opacity.alpha[20, 50]) == (0, 255)
    assert opacity.colours[20, 10].tolist() == [255, 255, 255]
    assert seen[0].pixels[20, 10].tolist() == [255, 255, 255]
    assert np.abs(seen[0].pixels[20, 50].astype(int) - WARM).max() <= 4


def test_a_container_without_transparency_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"\.mp4 holds no transparency; possible: \.webm"):
        rewrite_video(clip, tmp_path / "out.mp4", lambda frames: [], alpha=True, quiet=True)


def test_the_frames_function_can_look_ahead(clip: Path, tmp_path: Path) -> None:
    def backwards(frames: Iterable[Frame]) -> list[NDArray[np.uint8]]:
        seen = list(frames)
        np.testing.assert_allclose([frame.time for frame in seen], times_of(clip))
        return [negative(frame.pixels) for frame in reversed(seen)]

    assert rewrite_video(clip, tmp_path / "out.mp4", backwards, quiet=True) == FRAMES
    np.testing.assert_allclose(times_of(tmp_path / "out.mp4"), times_of(clip), atol=1e-3)


def test_a_silent_video(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", sound=None)
    assert predict_video(source, tmp_path / "out.webm", same, quiet=True) == FRAMES


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0, 1, 2, 7, 8, 20, 21, 40]
    source = make_clip(tmp_path / "clip.mkv", times=times)
    predict_video(source, tmp_path / "out.mp4", same, quiet=True)
    np.testing.assert_allclose(times_of(tmp_path / "out.mp4"), times_of(source), atol=1e-3)
    assert times_of(source)[-1] == pytest.approx(40 / RATE, abs=1e-3)


@pytest.mark.parametrize(
    ("matrix", "pix_fmt", "codec"),
    [
        (1, "yuv420p", "libx264"),
        (6, "yuv420p", "libx264"),
        (2, "yuv444p", "libx264"),
        (2, "yuvj420p", "mjpeg"),
    ],
)
def test_colours_are_kept(tmp_path: Path, matrix: int, pix_fmt: str, codec: str) -> None:
    source = make_clip(tmp_path / "clip.mkv", matrix=matrix, pix_fmt=pix_fmt, codec=codec, sound=None)
    predict_video(source, tmp_path / "out.mp4", same, quiet=True)
    before, after = frames_of(source)[3], frames_of(tmp_path / "out.mp4")[3]
    for row, column in [(10, 10), (10, 50), (44, 30)]:
        assert np.abs(before[row, column].astype(int) - after[row, column]).max() <= 4
    with av.open(str(source)) as old, av.open(str(tmp_path / "out.mp4")) as new:
        expected = old.streams.video[0].codec_context.colorspace
        assert new.streams.video[0].codec_context.colorspace == expected


def turned(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """A copy of an MP4 whose picture is shown through a matrix, as phones held upright write it."""
    content = bytearray(source.read_bytes())
    a, b, c, d = (part << 16 for part in matrix)
    start = content.index(b"tkhd") + 4 + 40  # the first track is the picture
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
        ((0, -1, 1, 0), lambda frame: np.rot90(frame, 1)),
    ],
)
def test_frames_are_turned_upright(
    clip: Path, tmp_path: Path, matrix: tuple[int, int, int, int], upright: Callable
) -> None:
    source = turned(clip, tmp_path / "clip.mp4", matrix)
    seen = []

    def look(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(frame)
        return frame

    predict_video(source, tmp_path / "out.mp4", look, quiet=True)
    expected = upright(scene(48, 64))
    assert near(seen[0], expected)
    assert near(frames_of(tmp_path / "out.mp4")[0], expected)
    with av.open(str(tmp_path / "out.mp4")) as reader:
        assert next(reader.decode(video=0)).rotation == 0


def test_odd_sides_grow_by_a_pixel(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.webm", size=(47, 63), codec="libvpx-vp9", sound=None)
    shapes = set()

    def look(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        shapes.add(frame.shape)
        return frame

    predict_video(source, tmp_path / "out.mp4", look, quiet=True)
    assert shapes == {(47, 63, 3)}
    after = frames_of(tmp_path / "out.mp4")[0]
    assert after.shape == (48, 64, 3)
    assert near(after[:47, :63], scene(47, 63))
    assert np.abs(after[:30, 63].astype(int) - WARM).max() < 12


def test_grey_frames(clip: Path, tmp_path: Path) -> None:
    predict_video(clip, tmp_path / "out.mp4", lambda frame: frame[..., 0], quiet=True)
    after = frames_of(tmp_path / "out.mp4")[0]
    assert np.abs(after[10, 10].astype(int) - COLD[0]).max() < 5
    assert np.abs(after[10, 50].astype(int) - WARM[0]).max() < 5


@pytest.mark.parametrize(
    "made", [np.zeros((48, 64, 4), np.uint8), np.zeros((48, 64)), np.zeros((2, 2), np.uint8)]
)
def test_frames_that_a_video_cannot_hold(clip: Path, tmp_path: Path, made: NDArray) -> None:
    with pytest.raises(ValueError, match="which a video cannot hold"):
        predict_video(clip, tmp_path / "out.mp4", lambda frame: made, quiet=True)
    assert not files_of(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("after", [0, 5])
def test_what_breaks_off_leaves_nothing(
    clip: Path, tmp_path: Path, error: type[BaseException], after: int
) -> None:
    calls = []

    def break_off(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        calls.append(frame)
        if len(calls) > after:
            raise error
        return frame

    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(error):
        predict_video(clip, tmp_path / "out.mp4", break_off, overwrite=True, quiet=True)
    assert files_of(tmp_path) == {"out.mp4": b"old"}


def test_nothing_is_replaced_unasked(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"out\.mp4 exists already; --overwrite replaces it"):
        predict_video(clip, out, same, quiet=True)
    predict_video(clip, out, same, overwrite=True, quiet=True)
    assert len(frames_of(out)) == FRAMES


def test_a_video_does_not_replace_itself(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", sound=None)
    with pytest.raises(VideoError, match="is the video itself"):
        predict_video(source, tmp_path / "." / "clip.mp4", same, overwrite=True, quiet=True)


def test_a_folder_in_the_place_of_the_result_is_seen_before_the_work(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(VideoError, match=r"out\.mp4 is a folder"):
        predict_video(
            clip, tmp_path / "out.mp4", lambda frame: pytest.fail("too late"), overwrite=True, quiet=True
        )


@pytest.mark.parametrize("name", ["out.avi", "out.gif", "out"])
def test_containers_that_are_not_written(clip: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(VideoError, match=r"a video is written as \.mp4, \.mov, \.mkv, \.webm"):
        predict_video(clip, tmp_path / name, same, quiet=True)


def test_files_that_are_no_video(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.mp4").write_text("not a video\n" * 99)
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:1000])  # its table of contents lies at the end
    with av.open(str(tmp_path / "song.mp4"), "w") as writer:
        voice = writer.add_stream("aac", rate=48_000)
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 4800), np.float32), format="fltp", layout="stereo")
        samples.sample_rate = 48_000
        writer.mux(voice.encode(samples))
        writer.mux(voice.encode())
    before = files_of(tmp_path)
    for name, words in [
        ("missing.mp4", "no such file"),
        ("empty.mp4", "invalid data"),
        ("notes.mp4", "invalid data"),
        ("cut.mp4", "invalid data"),
        ("song.mp4", "holds no video stream"),
    ]:
        with pytest.raises(VideoError, match=words) as raised:
            predict_video(tmp_path / name, tmp_path / "out.mp4", same, quiet=True)
        assert str(raised.value).startswith(str(tmp_path / name))
        assert "\n" not in str(raised.value)
    assert files_of(tmp_path) == before


def test_damage_on_the_way_costs_frames_and_not_the_video(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_clip(tmp_path / "clip.mkv", codec="libvpx-vp9", sound=None)
    with av.open(str(source)) as reader:
        fourth = [bytes(packet) for packet in reader.demux(video=0) if packet.size][3]
    source.write_bytes(source.read_bytes().replace(fourth, b"\xff" * len(fourth)))
    written = predict_video(source, tmp_path / "out.mp4", same, quiet=True)
    assert 0 < written < FRAMES - 1
    assert [record.message for record in caplog.records] == [
        f"{source}: {FRAMES - written} damaged frames are left out"
    ]


def test_damaged_times_cost_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = video._decoded

    def jumbled(packet: av.Packet) -> list[av.VideoFrame] | None:
        frames = decode(packet)
        for frame in frames or []:
            frame.pts = frame.pts // 100 * 100  # several share one time
        return frames

    monkeypatch.setattr(video, "_decoded", jumbled)
    source = make_clip(tmp_path / "clip.mkv", sound=None)
    assert predict_video(source, tmp_path / "out.mkv", same, quiet=True) == FRAMES
    times = times_of(tmp_path / "out.mkv")
    assert len(times) == FRAMES
    assert times == sorted(set(times))


def test_frames_that_change_their_size_are_brought_to_that_of_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = [tmp_path / "a.webm", tmp_path / "b.webm"]
    for part, size in zip(parts, ((48, 64), (96, 128)), strict=True):
        make_clip(part, size=size, codec="libvpx-vp9", sound=None)
    joined = tmp_path / "joined.mkv"
    with av.open(str(joined), "w") as writer:
        stream = None
        for number, part in enumerate(parts):
            with av.open(str(part)) as reader:
                stream = stream or writer.add_stream_from_template(reader.streams.video[0])
                for packet in reader.demux(video=0):
                    if packet.dts is not None:
                        packet.pts = packet.dts = packet.pts + 1000 * number
                        packet.stream = stream
                        writer.mux(packet)
    assert predict_video(joined, tmp_path / "out.mp4", same, quiet=True) == 2 * FRAMES
    assert {frame.shape for frame in frames_of(tmp_path / "out.mp4")} == {(48, 64, 3)}
    assert near(frames_of(tmp_path / "out.mp4")[-1], scene(48, 64))
    assert [record.message for record in caplog.records] == [
        f"{joined}: the size of its frames changes; all are brought to that of the first"
    ]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_progress_counts_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    # An MP4 tells how many frames it has, a Matroska file does not.
    source = make_clip(tmp_path / f"clip{suffix}")
    predict_video(source, tmp_path / "out.mp4", same, quiet=False)
    assert capsys.readouterr().err == f"clip{suffix}: 8/8 (100%), elapsed 0:00\n"


def test_the_extra_is_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"act2sal\[video\]"):
        predict_video(clip, tmp_path / "out.mp4", same, quiet=True)


def test_what_can_be_written_can_be_read() -> None:
    assert set(ENCODERS) < VIDEO_SUFFIXES
