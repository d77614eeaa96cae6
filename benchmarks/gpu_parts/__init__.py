"""The parts of `benchmarks/gpu.py`: what is measured, what follows from it, and how it is told."""
