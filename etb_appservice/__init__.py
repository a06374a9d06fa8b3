"""etb_appservice: gives every ETB incident one end-to-end encrypted Matrix room.

Facts come in (from Matrix, from ETB), one decision is taken for each, effects go out. The plan of the house
is in docs/architecture.md; this file must never hold code.
"""
