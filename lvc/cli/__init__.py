"""The command ``lvc``; ``python -m lvc.cli`` is the same."""
