"""Run by Alembic, on the connection that `store.migrate` opened; must never open one itself."""

from alembic import context

from etb_appservice.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
