"""The DuckDB file: who may write, what readers see."""
