-- database_state
--
-- The migration that the database is at, and the state of the server, in one row. The migration is
-- null if the table of migrations is empty; if the table is missing, the statement fails.
--
-- Parameters: none

SELECT
    (SELECT string_agg(version_num, ' ') FROM alembic_version),
    pg_is_in_recovery(),
    current_setting('transaction_read_only')::bool,
    current_setting('server_encoding')
