"""The first ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "headers",
        sa.Column("number", BIGINT, primary_key=True, autoincrement=False),
        sa.Column("id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("height", BIGINT, nullable=False),
        sa.Column("work", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("sequence", BIGINT),
    )
    for name in ("blocks", "undo"):
        op.create_table(
            name,
            sa.Column("id", sa.LargeBinary, sa.ForeignKey("headers.id"), primary_key=True),
            sa.Column("raw", sa.LargeBinary, nullable=False),
            sa.Column("checksum", sa.LargeBinary, nullable=False),
        )
    op.create_table(
        "chain",
        sa.Column("height", BIGINT, primary_key=True, autoincrement=False),
        sa.Column("id", sa.LargeBinary, sa.ForeignKey("headers.id"), nullable=False, unique=True),
    )
    op.create_table(
        "transactions",
        sa.Column("number", BIGINT, primary_key=True, autoincrement=False),
        sa.Column("txid", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_table(
        "history",
        sa.Column("script", sa.LargeBinary, primary_key=True),
        sa.Column("number", BIGINT, primary_key=True),
        sa.Column("slot", BIGINT, primary_key=True),
        sa.Column("value", BIGINT, nullable=False),
        sa.Column("point", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "coins",
        sa.Column("point", sa.LargeBinary, primary_key=True),
        sa.Column("value", BIGINT, nullable=False),
        sa.Column("script", sa.LargeBinary, nullable=False),
        sa.Column("height", BIGINT, nullable=False),
        sa.Column("from_coinbase", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for name in (
        "meta",
        "coins",
        "history",
        "transactions",
        "chain",
        "undo",
        "blocks",
        "headers",
    ):
        op.drop_table(name)
