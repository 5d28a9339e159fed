"""`python -m needlework` is the command `needlework`."""

from needlework.cli import main

main()
