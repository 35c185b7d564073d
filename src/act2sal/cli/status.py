"""How a command ends: its exit status, and the line that says what went wrong."""

import sys
from collections.abc import Sequence

OK, SOME_FAILED, WRONG_USAGE = 0, 1, 2


def failures(lines: Sequence[str], *, of: str = "photo", what: str = "read", named: str = "above") -> int:
    """Exit status; says how many photos failed, and where they are named.

    Args:
        lines: one for each.
        of: what they are.
        what: could not be done with them.
        named: where; a run that was resumed has them in its report alone.
    """
    if not lines:
        return OK
    them = of if len(lines) == 1 else f"{of}s"
    they_are = "it is" if len(lines) == 1 else "they are"
    print(f"{len(lines)} {them} could not be {what}; {they_are} named {named}", file=sys.stderr)
    return SOME_FAILED


def error(message: str, status: int) -> int:
    """Say what went wrong in one line; returns the status."""
    print(f"act2sal: {message}", file=sys.stderr)
    return status
