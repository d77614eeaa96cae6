"""The one error type that users see."""


class LuminaError(ValueError):
    """Bad input, told in one sentence: what was wrong, what was found, what was expected, and the cure."""
