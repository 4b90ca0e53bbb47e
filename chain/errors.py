"""Errors whose text the command line shows unchanged."""


class ShownError(Exception):
    """An error from outside; its text is one line for the user."""

    exit_code = 1  # of the command that it ends


class UsageError(ShownError):
    """A flag, a setting or a settings file is wrong; nothing was started."""
