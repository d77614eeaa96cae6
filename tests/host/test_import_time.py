"""Importing the pack must stay cheap: nothing heavy comes in that the host has not loaded already."""

# Small, pure Python, and part of every ComfyUI.
CHEAP = {"einops", "safetensors"}


def test_import_brings_in_no_heavy_package(probe):
    assert set(probe["new_packages"]) <= CHEAP
