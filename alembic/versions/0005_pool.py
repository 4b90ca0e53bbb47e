"""The mempool, its fee deltas, the node's small state, and a journal of changes: empty tables.

The node fills them: it reads mempool.dat of an earlier groat once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pool",
        sa.Column("number", BIGINT, primary_key=True, autoincrement=False),
        sa.Column("wtxid", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("txid", sa.LargeBinary, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("time", BIGINT, nullable=False),
        sa.Column("height", BIGINT, nullable=False),
        sa.Column("fee", BIGINT, nullable=False),
    )
    op.create_table(
        "deltas",
        sa.Column("txid", sa.LargeBinary, primary_key=True),
        sa.Column("grains", BIGINT, nullable=False),
    )
    op.create_table(
        "node_state",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "journal",
        sa.Column("sequence", BIGINT, primary_key=True, autoincrement=False),
        sa.Column("time", BIGINT, nullable=False),
        sa.Column("changes", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("journal", "node_state", "deltas", "pool"):
        op.drop_table(table)
