"""Where the gate keeps its data: tables, the one writer, and all that differs between SQLite and PostgreSQL."""
