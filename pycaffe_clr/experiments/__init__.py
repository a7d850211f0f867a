"""The report as experiments: manifest, queue, range test, searches, tables, figures."""
