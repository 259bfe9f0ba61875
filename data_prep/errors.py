"""The one exception that a user's bad input raises."""


class InputError(ValueError):
    """Bad input from the user: one line that names the file, row or key and says what to do.

    The command line prints the message alone and exits with status 2; ``--debug`` adds the traceback.
    """
