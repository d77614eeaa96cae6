"""The error that users see, and what a program needs to react to it."""

from __future__ import annotations

from typing import Literal

# What is wrong:
# value: a setting is out of range, of the wrong type, or not one of the choices.
# missing: a file, folder, package or device that is needed is not there.
# file: a file is damaged, of another format, or contains something other than expected.
# mismatch: two parts do not go together, such as a checkpoint and a text encoder.
# resource: memory or disk space ran out.
# numerics: a result contains NaN, infinite or constant values.
ErrorKind = Literal["value", "missing", "file", "mismatch", "resource", "numerics"]


class LuminaError(ValueError):
    """Something that the user can fix.

    Args:
        message: one sentence that says what was found, what was expected, and how to fix it.
        field: what is at fault, by the name it has in the interface: a parameter (``fps``), a recipe entry, or the
            role of a file (``checkpoint``, ``vae``). None where no single one is.
        kind: what is wrong with it; see ``ErrorKind``.
    """

    def __init__(self, message: str = "", *, field: str | None = None, kind: ErrorKind = "value"):
        super().__init__(message)
        self.field, self.kind = field, kind
