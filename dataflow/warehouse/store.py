"""The seam: everything that the rest of DATAFLOW knows about the warehouse.

The store is one DuckDB file under a write lock. Another one, such as DuckLake with its catalog in
Postgres and its data on shared storage, would be one more module that offers these names, and a
line here that chooses it: its write lock does nothing, its versions are snapshots, its development
copy is a schema or catalog of its own. `Connection` has DuckDB's methods, in its SQL the catalog is
called `dataflow`, and times are in UTC. Nothing above relies on a file: `published_path` is for
programs that can read only a DuckDB file, and another store may export one or return None.
"""

from dataflow.base.lock import DEFAULT_TIMEOUT
from dataflow.warehouse.backup import back_up, restore
from dataflow.warehouse.changes import compare_writes, forget_writes, stage_writes
from dataflow.warehouse.columns import lost, refuse_used
from dataflow.warehouse.compare import compare_files
from dataflow.warehouse.comparison import ColumnComparison, DataComparison, Limits, TableComparison
from dataflow.warehouse.connect import Connection, Database, dbt_writes
from dataflow.warehouse.describe import Description, describe
from dataflow.warehouse.development import (
    copy_working_to_development,
    has_development_copy,
    reset_development,
)
from dataflow.warehouse.files import memory_limit
from dataflow.warehouse.inspect import (
    PublishedTable,
    check,
    contents,
    files_of_all,
    published_tables,
    published_writers,
    quick_check,
    restored_at,
    shapes,
    tables,
)
from dataflow.warehouse.preview import MOST_TABLES, Preview, preview
from dataflow.warehouse.profile import Profile
from dataflow.warehouse.provenance import by_hand
from dataflow.warehouse.publish import (
    Published,
    candidate_hash,
    candidate_path,
    candidate_runs,
    publish,
    publish_candidate,
    published_kept,
    published_path,
    remove_candidates,
)
from dataflow.warehouse.query import Access, run_shell, running, write_csv, write_json
from dataflow.warehouse.schemas import databases, remove_tables, rename_schemas, table_makers
from dataflow.warehouse.versions import published_runs
from dataflow.warehouse.write import write_table

__all__ = [
    "DEFAULT_TIMEOUT",
    "MOST_TABLES",
    "Access",
    "ColumnComparison",
    "Connection",
    "DataComparison",
    "Database",
    "Description",
    "Limits",
    "Preview",
    "Profile",
    "Published",
    "PublishedTable",
    "TableComparison",
    "back_up",
    "by_hand",
    "candidate_hash",
    "candidate_path",
    "candidate_runs",
    "check",
    "compare_files",
    "compare_writes",
    "contents",
    "copy_working_to_development",
    "databases",
    "dbt_writes",
    "describe",
    "files_of_all",
    "forget_writes",
    "has_development_copy",
    "lost",
    "memory_limit",
    "preview",
    "publish",
    "publish_candidate",
    "published_kept",
    "published_path",
    "published_runs",
    "published_tables",
    "published_writers",
    "quick_check",
    "refuse_used",
    "remove_candidates",
    "remove_tables",
    "rename_schemas",
    "reset_development",
    "restore",
    "restored_at",
    "run_shell",
    "running",
    "shapes",
    "stage_writes",
    "table_makers",
    "tables",
    "write_csv",
    "write_json",
    "write_table",
]
