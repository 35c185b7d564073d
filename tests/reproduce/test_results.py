"""Tables beside the paper's: what is bold, what is left out, and what stands under them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import act2sal
from act2sal.reproduce.commit import commit
from act2sal.reproduce.rendering import Provenance, read_result, rendered, told, write_result
from act2sal.reproduce.results import Claim, Column, Number, Row, Table

PROVENANCE = Provenance("act2sal reproduce", (0, 1), "abc", "photos", "encoder", "scale", "machine")
TABLE = Table(
    "Table X: a <b> & c",
    (Column("F", "high"), Column("MAE", "low"), Column("hours", digits=1)),
    (
        Row("one ‡", (Number((0.5, 0.7), 0.8), Number((0.1, 0.1)), Number((), 2.0))),
        Row("two", (Number((0.61, 0.61), None), Number((0.05, 0.07)), Number((), 3.0)), "masks"),
        Row("none", (Number(), Number(), Number()), "‡"),
    ),
    (Claim("It holds", True, "1 > 0"), Claim("It does not", False, "0 < 1"), Claim("Who knows", None, "-")),
    "A note.",
)


def test_means_and_deviations_of_seeds() -> None:
    number = Number((0.5, 0.7))
    assert number.mean == pytest.approx(0.6)
    assert number.spread == pytest.approx(0.02**0.5)
    assert Number((0.5,)).spread is None
    assert Number().mean is None


def test_markdown() -> None:
    lines = rendered(TABLE, "markdown", PROVENANCE).splitlines()
    assert lines[2] == "|  | F ↑ | F, paper | MAE ↓ | hours, paper |"
    assert lines[4] == "| one ‡ | .600 ± .141 | .800 | .100 ± .000 | 2.0 |"
    assert lines[5] == "| two (trained on masks) | **.610 ± .000** |  | **.060 ± .014** | 3.0 |"
    assert lines[6] == "| none ‡ |  |  |  |  |"
    text = "\n".join(lines)
    assert "It holds: holds here (1 > 0)." in text
    assert "It does not: does not hold here (0 < 1)." in text
    assert "Who knows: cannot be said here (-)." in text
    assert text.index("A note.") < text.index("It holds")
    assert lines[-1] == told(PROVENANCE)


def test_latex_is_a_tabular_of_booktabs_alone() -> None:
    text = rendered(TABLE, "latex", PROVENANCE)
    assert text.startswith(
        "\\begin{tabular}{lrrrr}\n\\toprule\n & F $\\uparrow$ & F, paper & MAE $\\downarrow$ &"
    )
    assert r"one $\ddagger$ & .600 $\pm$ .141 & .800 & .100" in text
    assert r"& \textbf{.610 $\pm$ .000} &" in text
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")


def test_html_escapes_and_closes() -> None:
    text = rendered(TABLE, "html", PROVENANCE)
    assert "<h1>Table X: a &lt;b&gt; &amp; c</h1>" in text
    assert "<td><strong>.610 ± .000</strong></td>" in text
    assert "<p>It holds: holds here (1 &gt; 0).</p>" in text

    class Balance(HTMLParser):
        depth = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.depth += tag not in ("meta",)

        def handle_endtag(self, tag: str) -> None:
            self.depth -= 1

    balance = Balance()
    balance.feed(text)
    assert balance.depth == 0


def test_a_tie_is_bold_twice_and_a_single_value_never() -> None:
    def best(*values: tuple[float, ...]) -> set[int]:
        rows = tuple(Row(str(index), (Number(value),)) for index, value in enumerate(values))
        return Table("", (Column("F", "high"),), rows).best_rows(0)

    assert best((0.5,), (0.5,), (0.4,)) == {0, 1}
    assert best((0.5,), ()) == set()
    assert (
        Table("", (Column("n"),), (Row("a", (Number((1.0,)),)), Row("b", (Number((2.0,)),)))).best_rows(0)
        == set()
    )


def test_rows_have_as_many_numbers_as_columns() -> None:
    with pytest.raises(ValueError, match="every row"):
        Table("", (Column("F"),), (Row("a", ()),))


def test_files_of_a_table_hold_every_number_and_its_making(tmp_path: Path) -> None:
    paths = write_result(tmp_path, "tablex", TABLE, PROVENANCE)
    assert [path.name for path in paths] == ["tablex.json", "tablex.md", "tablex.tex", "tablex.html"]
    content = json.loads(paths[0].read_text())
    assert content["provenance"]["seeds"] == [0, 1]
    assert content["rows"][0]["numbers"][0] == {"ours": [0.5, 0.7], "paper": 0.8}
    assert content["claims"][0]["holds"] is True
    assert read_result(paths[0]) == (TABLE, PROVENANCE)


def test_the_commit_is_that_of_git_or_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}\+?|act2sal \S+", commit())
    monkeypatch.setenv("PATH", "")
    assert commit() == f"act2sal {act2sal.__version__}"
