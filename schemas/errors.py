"""What all errors that a user can do something about have in common."""


class UserError(Exception):
    """The text says what is wrong, where, what was expected and found, and what to do next."""
