"""The bundles that come along, as entries of the loaders' lists."""

from __future__ import annotations

from ...lumina_core.pipelines.bundle import Bundle, bundled, find_bundle

_MARK = " (bundled)"


def bundled_entries() -> list[str]:
    """What the loaders' lists show for them, to stand first."""
    return [f"{name}{_MARK}" for name in bundled()]


def bundle_of(entry: str) -> Bundle | None:
    """The bundle of an entry, or None for the name of a user's own file. Raises LuminaError."""
    return find_bundle(entry.removesuffix(_MARK)) if entry in bundled_entries() else None


def is_bundled(entry: str) -> bool:
    """Whether an entry names a bundle, be it there or not."""
    return entry.endswith(_MARK)
