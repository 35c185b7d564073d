"""Progress lines and bars."""

import io
import threading

import pytest

from act2sal.runtime.progress import PlainLines, bar, clock_text


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_appear_every_interval_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines("labels", total=8, stream=stream, interval=10, clock=clock)
    for _ in range(8):
        clock.now += 4
        lines.advance()
    lines.finish()
    assert stream.getvalue().splitlines() == [
        "labels: 3/8 (37%), elapsed 0:12, left 0:20",
        "labels: 6/8 (75%), elapsed 0:24, left 0:08",
        "labels: 8/8 (100%), elapsed 0:32",
    ]


def test_steps_of_an_earlier_run_do_not_count_towards_the_speed() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines("labels", total=100, done=90, stream=stream, interval=10, clock=clock)
    clock.now += 10
    lines.advance(5)
    assert stream.getvalue() == "labels: 95/100 (95%), elapsed 0:10, left 0:10\n"


def test_the_last_line_is_not_repeated() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines("x", total=1, stream=stream, interval=10, clock=clock)
    clock.now += 60
    lines.advance()
    lines.finish()
    assert stream.getvalue() == "x: 1/1 (100%), elapsed 1:00\n"


def test_nothing_to_do_is_complete() -> None:
    stream = io.StringIO()
    PlainLines("x", total=0, stream=stream, clock=Clock()).finish()
    assert stream.getvalue() == "x: 0/0 (100%), elapsed 0:00\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (9.6, "0:10"), (61, "1:01"), (3599.7, "1:00:00"), (7325, "2:02:05")]
)
def test_clock_text(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_bar_writes_plain_lines_to_stderr_when_it_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("photos", total=2) as advance:
        advance()
        advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "photos: 2/2 (100%), elapsed 0:00\n"


def test_bar_says_how_far_it_came_when_the_body_fails(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        with bar("photos", total=4) as advance:
            advance()
            raise KeyError

    with pytest.raises(KeyError):
        body()
    assert capsys.readouterr().err.startswith("photos: 1/4 (25%)")


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("photos", total=1, quiet=True) as advance:
        advance()
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal_shows_title_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with bar("photos", total=3) as advance:
        advance(3)
    assert "photos" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_advance_counts_from_several_threads() -> None:
    stream = io.StringIO()
    lines = PlainLines("x", total=4000, stream=stream, clock=Clock())
    threads = [threading.Thread(target=lambda: [lines.advance() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.finish()
    assert stream.getvalue().startswith("x: 4000/4000")
