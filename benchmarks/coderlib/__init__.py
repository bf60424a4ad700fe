"""What benchmarks/coder.py is made of."""
