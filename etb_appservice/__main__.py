"""`python -m etb_appservice` is the console command."""

from etb_appservice.cli import main

if __name__ == "__main__":
    main()
