"""`python -m pyro_vae`."""

import sys

from pyro_vae.cli.main import main

sys.exit(main())
