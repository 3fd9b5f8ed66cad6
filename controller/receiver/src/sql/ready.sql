-- Says why events cannot be kept, or nothing. It waits for no lock.
SELECT CASE
    WHEN current_setting('transaction_read_only') = 'on' THEN 'the database is read-only: is it a standby?'
    WHEN to_regclass('kubernetes_execution_audit') IS NULL OR to_regclass('kubernetes_execution_audit_id') IS NULL
        THEN 'there is no table yet'
    -- A column of the newest step of the tables.
    WHEN NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('kubernetes_execution_audit') AND attname = 'workflow_namespace' AND NOT attisdropped
    ) THEN 'the tables are older than this program: run migrate'
    WHEN NOT has_table_privilege(to_regclass('kubernetes_execution_audit')::oid, 'INSERT')
        OR NOT has_table_privilege(to_regclass('kubernetes_execution_audit_id')::oid, 'INSERT')
        OR NOT has_table_privilege(to_regclass('kubernetes_execution_audit_id')::oid, 'SELECT')
        THEN 'the account may not insert'
END
