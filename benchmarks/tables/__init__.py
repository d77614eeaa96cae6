"""The paper's control tables in miniature; `benchmarks/paper_tables.py` runs them."""
