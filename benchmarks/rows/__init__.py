"""One file a group of rows; each has `async def rows(folder, pairs) -> list[Row]`."""
