"""The ETB sandbox: ETB's contract (docs/etb-contract.md) served by the framework ETB itself is built on.

Nothing in `etb_appservice/` may import it.
"""
