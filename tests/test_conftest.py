"""What the last line of a test run says."""

from conftest import skipped_line


def test_the_last_line_counts_what_was_skipped_by_its_reason() -> None:
    reasons = ["Skipped: needs a GPU", "Skipped: no photos", "Skipped: no photos"]
    assert skipped_line(reasons) == "Skipped: 2 x no photos; 1 x needs a GPU."
    assert skipped_line([]) == "Skipped: nothing."
