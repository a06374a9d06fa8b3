"""The database `etb`: tables, units of work, and the vault that seals what people wrote.

Nothing here may decide anything, speak to a network other than its database, or store a text that is not sealed.
Begin with `sql.open_store`; the promises stand in `ports/`.
"""
