"""What the scripts in benchmarks/ share. Uses the public face of lvc only: lvc, lvc.metrics and the CLI;
and lvc.models.complexity, which counts multiply-adds.
"""
