"""``python -m jssl`` is ``jssl``."""

import sys

from jssl.cli import main

sys.exit(main())
