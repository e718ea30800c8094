"""`python -P -m pyro_vae`; without `-P`, Python would import from the working folder first."""

import sys

from pyro_vae.cli.main import main

sys.exit(main())
