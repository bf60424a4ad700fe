"""The parts of benchmarks/report.py: figures of comparison, drawings, pictures, the page itself."""
