"""The version that goes into files we write; the same as in pyproject.toml."""

VERSION = "0.1.0"
