"""What the user can mend: the base of the package's errors about inputs, options and files."""


class InputError(ValueError):
    """Something given to the package cannot be used; the message is one line that names it."""


class CheckpointError(InputError):
    """A model file that is missing, damaged, or of another kind; the message names it."""


class FileError(Exception):
    """A file of the user's that cannot be read or used; the message is one line that names it."""


class LostProcessError(RuntimeError):
    """One of several processes that train together has ended; the message is one line that names it."""


class MissingPackageError(ImportError):
    """An optional package is not installed; the message is one line with the command that installs it."""


class DeviceError(InputError):
    """A device that this machine does not have."""


def one_line(text: str) -> str:
    """`text` without what could move a terminal's cursor or change its colours: it may hold names of files."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
