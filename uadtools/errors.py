"""The one exception that means: the user, or the machine, can put this right."""


class UadError(Exception):
    """A problem to be told in one line: what is wrong, and what to do about it.

    Commands print it as ``uad-NAME: error: MESSAGE`` and exit with status 1; Python callers catch it.
    """


class Misuse(UadError):  # noqa: N818  it is a UadError by its class
    """Options or arguments that do not go together; commands point to their help, and exit with status 2."""
