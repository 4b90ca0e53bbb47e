"""Pages of the best chain's headers, and an index that finds the others (docs/decisions/0008)."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(  # filled at the next start
        "header_pages",
        sa.Column("number", BIGINT, primary_key=True, autoincrement=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("work", sa.LargeBinary, nullable=False),
        sa.Column("checksum", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_headers_height", "headers", ["height"])


def downgrade() -> None:
    op.drop_index("ix_headers_height", "headers")
    op.drop_table("header_pages")
