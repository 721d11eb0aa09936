"""``python -m agent.cli`` is ``han-agent``."""

import sys

from agent.cli import main

sys.exit(main())
