"""The HTML of a run's report: style, pictures and curves inline, everything foreign escaped."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from act2sal.networks.encoders import UNKNOWN
from act2sal.runs.report.curves import curve_svg
from act2sal.runs.report.time_spent import time_spent
from act2sal.runs.run_directory import stage_title
from act2sal.runs.samples import Sample
from act2sal.runs.training_state import LogRow
from act2sal.runtime.peak_memory import MEMORY
from act2sal.runtime.progress import clock_text

_STYLE = Path(__file__).with_name("style.css")
_EQUATIONS = {("stage1", "loss"): "Eq. 4", ("stage2", "loss"): "Eq. 12", ("stage2", "label_change"): "Eq. 14"}
_MEASURES = {"loss": ("loss", "loss"), "label_change": ("change of the labels", "mean change per pixel")}
_MIME = {".jpg": "image/jpeg", ".png": "image/png"}
_LABEL_FREE = "none"
_METHOD = (
    "Activation to Saliency: stage 1 reads cues off a pretrained encoder, stage 2 trains a detector on them and "
    "repairs the labels while it learns."
)
_RIVAL = "A detector learnt from hand-crafted maps by {method}, a rival of Activation to Saliency."
_SUPERVISED = "Stage 2 of Activation to Saliency alone, on masks in place of labels."


@dataclass(frozen=True)
class Facts:
    """What a report says.

    failures: one line per photo that could not be read; encoders, supervision: by encoder; rows: of the log;
    scores: by name, then metric; options: the run's config as TOML; masks: their folder, if it was trained on them;
    detector: the network of stage 2; method: how it was learnt; given_labels: their folder, if they were;
    teacher: name of the detector that labels and weights go back to, if one was given.
    """

    device: str
    photos: int
    failures: Sequence[str]
    encoders: Mapping[str, str]
    supervision: Mapping[str, str]
    rows: Sequence[LogRow]
    samples: Sequence[Sample]
    scores: Mapping[str, Mapping[str, float]]
    options: str
    masks: str | None = None
    detector: str = "a2s"
    method: str = "a2s"
    given_labels: str | None = None
    teacher: str | None = None


def page(facts: Facts) -> str:
    """The whole page as HTML."""
    sections = (
        _summary(facts),
        _section("From photo to prediction", _samples(facts.samples, _changed_epochs(facts.rows))),
        _section("Training", _curves(facts.rows)),
        _section("Scores", _scores(facts.scores)),
        _section("Time", _timings(facts.rows)),
        _section("Where the time went", time_spent(by_stage(facts.rows))),
        _section("Photos that could not be read", _failures(facts.failures)),
        _section("Options", f'<div class="card"><pre>{escape(facts.options)}</pre></div>'),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Act2Sal: report of a run</title>\n"
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n{''.join(sections)}</body>\n</html>\n"
    )


def shown_epochs(epochs: Sequence[int], changed: set[int]) -> list[int]:
    """Which of the epochs with a picture to show: of those that changed labels the first, middle and last."""
    rectifying = sorted(epoch for epoch in epochs if epoch in changed)
    if len(rectifying) <= 3:
        return rectifying
    return [rectifying[0], rectifying[len(rectifying) // 2], rectifying[-1]]


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>\n" if content else ""


def _summary(facts: Facts) -> str:
    seconds = sum(float(row["seconds"]) for row in facts.rows if "seconds" in row)
    entries = [
        ("Photos used", str(facts.photos)),
        ("Not readable", str(len(facts.failures))),
        ("Detector", facts.detector),
        *([("Trained on", "MASKS (supervised)")] if facts.masks is not None else []),
        ("Device", facts.device),
        ("Training time", clock_text(seconds)),
        *((f"Memory, {unit}", f"{most:,}") for unit, most in _memory(facts.rows).items()),
    ]
    for encoder, supervision in facts.supervision.items():
        dagger = "" if supervision == _LABEL_FREE else "\N{NO-BREAK SPACE}‡"
        entries.append((encoder[:1].upper() + encoder[1:], facts.encoders.get(encoder, supervision) + dagger))
    soft = ' class="soft"' if facts.masks is None else ""
    tiles = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>\n" for key, value in entries)
    return (
        "<header>\n<h1>Salient-object detector</h1>\n"
        f'<p class="soft">{_method_note(facts)}</p>\n'
        f"<p{soft}>{escape(_labels_note(facts))}</p>\n"
        f'<dl class="facts">\n{tiles}</dl>\n{_supervision_notes(facts.supervision)}</header>\n'
    )


def _method_note(facts: Facts) -> str:
    """What was trained, in a sentence."""
    if facts.masks is not None:
        return _SUPERVISED
    return _METHOD if facts.method == "a2s" else _RIVAL.format(method=facts.method.upper())


def _labels_note(facts: Facts) -> str:
    """Where the labels come from, as far as it is known."""
    given, teacher = facts.given_labels, facts.teacher
    if facts.masks is not None:
        return f"Trained on masks, those in {facts.masks}: this run is supervised, and not label-free."
    if given is not None:
        return f"Its labels were given in {given}: this run does not know whether they were made with masks."
    if teacher is not None:
        return f"Its labels go back to the teacher {teacher}: whether that was trained with masks, its own run says."
    if facts.method != "a2s":
        return "Its labels go back to hand-crafted maps of the photos alone: no mask was opened."
    return "Its labels were made by stage 1, from the photos alone: no mask was opened."


def _memory(rows: Sequence[LogRow]) -> dict[str, int]:
    """The most memory that a process held, by unit; of those that a run took, the one that held most."""
    held = [row for row in rows if row["stage"] == MEMORY]
    units = [unit for unit in ("MiB", "GPU MiB") if any(unit in row for row in held)]
    return {unit: max(int(row.get(unit, 0)) for row in held) for unit in units}


def _supervision_notes(supervision: Mapping[str, str]) -> str:
    """What ‡ means in this run, or that no encoder saw labels."""
    notes = []
    for encoder, seen in supervision.items():
        if seen == UNKNOWN:
            notes.append(f"‡ It is not known whether the weights of the {encoder} were trained with labels.")
        elif seen != _LABEL_FREE:
            notes.append(
                f"‡ The weights of the {encoder} were trained with {seen}: this run is not label-free."
            )
    if supervision and not notes:
        notes = ["The weights of the encoders were trained without labels."]
    return "".join(f'<p class="soft">{escape(note)}</p>\n' for note in notes)


def _changed_epochs(rows: Sequence[LogRow]) -> set[int]:
    """Epochs of stage 2, of the last generation, that changed labels."""
    last = max((int(row.get("generation", 1)) for row in rows), default=1)
    shown = [row for row in rows if row["stage"] == "stage2" and int(row.get("generation", last)) == last]
    return {int(row["epoch"]) for row in shown if row.get("label_change", 0)}


def _samples(samples: Sequence[Sample], changed: set[int]) -> str:
    if not samples:
        return ""
    epochs = shown_epochs(sorted({epoch for sample in samples for epoch in sample.rectified}), changed)
    titles = ["Photo", "Activation map", "Cue before CRF", "Label after CRF"]
    titles += [f"Label after epoch {epoch}" for epoch in epochs] + ["Prediction"]
    rounds = sorted({number for sample in samples for number in sample.rounds})
    if rounds:
        return _rounds(samples, rounds)
    return (
        '<p class="soft">Activation map: red is taken for foreground, blue for background, the line is the '
        "decision boundary. Labels after an epoch are those that the detector has rectified by then.</p>\n"
        + _table_of_pictures(titles, [_sample_row(sample, epochs, titles) for sample in samples])
    )


def _table_of_pictures(titles: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        '<div class="card">\n<table class="samples">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n</table>\n</div>"
    )


def _rounds(samples: Sequence[Sample], rounds: Sequence[int]) -> str:
    """The photos of a rival, its labels after each round, and what the detector finds."""
    titles = ["Photo", *(f"Label after round {number}" for number in rounds), "Prediction"]
    body = []
    for sample in samples:
        pictures = [sample.photo, *(sample.rounds.get(number) for number in rounds), sample.prediction]
        body.append(_row_of_pictures(sample.name, pictures, titles))
    return _table_of_pictures(titles, body)


def _sample_row(sample: Sample, epochs: Sequence[int], titles: Sequence[str]) -> str:
    pictures = [sample.photo, sample.activation, sample.cue, sample.label]
    pictures += [sample.rectified.get(epoch) for epoch in epochs] + [sample.prediction]
    return _row_of_pictures(sample.name, pictures, titles)


def _row_of_pictures(name: str, pictures: Sequence[Path | None], titles: Sequence[str]) -> str:
    photo, *others = (
        _picture(path, f"{title}: {name}") for path, title in zip(pictures, titles, strict=True)
    )
    cells = "".join(f"<td>{picture}</td>" for picture in others)
    return f'<tr><th scope="row">{photo}<span class="name">{escape(name)}</span></th>{cells}</tr>\n'


def _picture(path: Path | None, alt: str) -> str:
    if path is None:
        return '<span class="soft">not there yet</span>'
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img src="data:{_MIME[path.suffix]};base64,{content}" alt="{escape(alt)}">'


def _curves(rows: Sequence[LogRow]) -> str:
    """Every measure of every stage over its epochs, in the order in which the stages began."""
    points: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        for measure in _MEASURES:
            if measure in row:
                key = (stage_title(row), str(row["stage"]), measure)
                points.setdefault(key, {})[int(row["epoch"])] = float(row[measure])
    drawn = "".join(f'<div class="card">{_curve(*key, values)}</div>\n' for key, values in points.items())
    return f'<div class="curves">\n{drawn}</div>' if drawn else ""


def _curve(name: str, stage: str, measure: str, values: Mapping[int, float]) -> str:
    what, unit = _MEASURES[measure]
    equation = _EQUATIONS.get((stage, measure))
    title = f"{_stage_name(name)}: {what}" + (f" ({equation})" if equation else "")
    epochs = sorted(values)
    return curve_svg(epochs, [values[epoch] for epoch in epochs], title=title, unit=unit)


def _stage_name(stage: str) -> str:
    """`stage1 round 2` of the log as "Stage 1 round 2"."""
    spaced = stage.replace("stage1", "stage 1").replace("stage2", "stage 2")
    return spaced[:1].upper() + spaced[1:]


def _scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    if not scores:
        return ""
    metrics = list(dict.fromkeys(metric for values in scores.values() for metric in values))
    body = [
        [name, *(_score_text(values[m]) if m in values else "" for m in metrics)]
        for name, values in scores.items()
    ]
    return _table(["", *metrics], body)


def _score_text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def by_stage(rows: Sequence[LogRow]) -> dict[str, list[LogRow]]:
    """Rows by the name of their stage, in the order in which the stages began."""
    stages: dict[str, list[LogRow]] = {}
    for row in rows:
        stages.setdefault(_stage_name(stage_title(row)), []).append(row)
    return stages


def _timings(rows: Sequence[LogRow]) -> str:
    """Seconds summed by stage, in the order in which the stages began."""
    seconds = {
        stage: [float(row["seconds"]) for row in own]
        for stage, own in by_stage([row for row in rows if "seconds" in row]).items()
    }
    if not seconds:
        return ""
    body = [
        [stage, str(len(spent)) if len(spent) > 1 else "", clock_text(sum(spent))]
        for stage, spent in seconds.items()
    ]
    total = clock_text(sum(sum(spent) for spent in seconds.values()))
    return _table(["", "epochs", "time"], body, foot=["Total", "", total])


def _table(head: Sequence[str], body: Sequence[Sequence[str]], foot: Sequence[str] = ()) -> str:
    """A table with names in its first column and numbers in the others; all cells are escaped."""
    titles = "".join(f'<th scope="col"{_number(n)}>{escape(cell)}</th>' for n, cell in enumerate(head))
    rows = "".join(_table_row(cells) for cells in body)
    total = f"<tfoot>\n{_table_row(foot)}</tfoot>\n" if foot else ""
    return (
        f'<div class="card">\n<table>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n{total}</table>\n</div>"
    )


def _table_row(cells: Sequence[str]) -> str:
    name, *numbers = (escape(cell) for cell in cells)
    values = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'<tr><th scope="row">{name}</th>{values}</tr>\n'


def _number(column: int) -> str:
    return ' class="number"' if column else ""


def _failures(failures: Sequence[str]) -> str:
    if not failures:
        return ""
    items = "".join(f"<li>{escape(failure)}</li>\n" for failure in failures)
    return f'<div class="card">\n<ul>\n{items}</ul>\n</div>'
