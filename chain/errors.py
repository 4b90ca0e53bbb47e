"""Errors whose text the command line shows as it is."""


class ShownError(Exception):
    """An error from outside; its text is one line for the user."""


class UsageError(ShownError):
    """A flag, a setting or a settings file is wrong; nothing was started."""
