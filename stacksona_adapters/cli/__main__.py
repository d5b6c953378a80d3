"""`python -m stacksona_adapters.cli` is the command `stacksona`."""

from stacksona_adapters.cli import main

main()
