"""How tests assert errors: by field and kind, plus facts such as numbers and names. The wording is free to change.

The wording itself is checked once, in test_messages.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lumina_core.errors import ErrorKind, LuminaError


@contextmanager
def refused(
    field: str | None, kind: ErrorKind = "value", *facts: str, error: type[LuminaError] = LuminaError
) -> Iterator[pytest.ExceptionInfo[LuminaError]]:
    """The block must raise ``error`` with this field and kind, whose sentence contains every fact."""
    with pytest.raises(error) as caught:
        yield caught
    found = caught.value
    assert (found.field, found.kind) == (field, kind), f"{found.field!r}, {found.kind!r}: {found}"
    assert [fact for fact in facts if fact not in str(found)] == [], str(found)
