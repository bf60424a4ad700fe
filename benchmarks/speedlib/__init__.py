"""The parts of benchmarks/speed.py: the clock, one measurement in a process of its own, tables."""
