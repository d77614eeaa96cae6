"""Parts of ``benchmarks/sound.py``."""
