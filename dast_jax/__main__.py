"""`python -m dast_jax COMMAND …`: the same as `dast-jax COMMAND …`."""

import sys

from dast_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
