"""``python -m lvc.cli``."""

import sys

from lvc.cli.main import main

sys.exit(main())
