"""The knowledge-graph cache: tables, migrations, bundled facts, N-Quads."""
