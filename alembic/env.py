"""Run migrations: on the ledger's own connection, or for a developer's `alembic -x db=URL`."""

from alembic import context
from sqlalchemy import Connection

from chain.ledger.db.engine import open_engine
from chain.ledger.db.schema import Base


def run(connection: Connection) -> None:
    """Run the migrations that the command asked for."""
    # SQLite cannot ALTER a column: batch mode makes a new table instead.
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


shared = context.config.attributes.get("connection")
if shared is not None:
    run(shared)
else:
    url = context.get_x_argument(as_dictionary=True).get("db", "sqlite:///dev.db")
    with open_engine(url).begin() as own:
        run(own)
