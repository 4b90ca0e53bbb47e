"""What the command line may show as it is."""


class ShownError(Exception):
    """Something outside went wrong; its text is one line that tells the user what."""


class UsageError(ShownError):
    """A flag, a setting or a file of settings is wrong: nothing was begun."""
