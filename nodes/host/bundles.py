"""The bundles that ship with the pack, as entries of the loaders' lists."""

from __future__ import annotations

from ...lumina_core.pipelines.bundle import Bundle, bundled, find_bundle

_MARK = " (bundled)"


def bundled_entries() -> list[str]:
    """Their list entries, which the loaders show first."""
    return [f"{name}{_MARK}" for name in bundled()]


def bundle_of(entry: str) -> Bundle | None:
    """The bundle of a list entry; None for a file of the user. Raises LuminaError if the bundle is damaged."""
    return find_bundle(entry.removesuffix(_MARK)) if entry in bundled_entries() else None


def is_bundled(entry: str) -> bool:
    """Whether a list entry names a bundle, even one that is not installed."""
    return entry.endswith(_MARK)
