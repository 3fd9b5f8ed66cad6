-- The workflow's own namespace, which need not be that of its executions; and the group of a kind that is not built in: two
-- groups may have a kind by one name.

-- In the order of those who read: the view, and what is below it. In another order both would wait for each other.
LOCK TABLE kubernetes_executions IN ACCESS EXCLUSIVE MODE;

ALTER TABLE kubernetes_execution_audit ADD COLUMN workflow_namespace text, ADD COLUMN target_api_version text;
COMMENT ON COLUMN kubernetes_execution_audit.workflow_namespace IS 'Namespace of that workflow';
COMMENT ON COLUMN kubernetes_execution_audit.target_api_version IS 'API version of a target whose kind is not built in';

-- Where it is null, as in rows of older receivers, it is the execution's own.
DROP INDEX kubernetes_execution_audit_workflow;
CREATE INDEX kubernetes_execution_audit_workflow
    ON kubernetes_execution_audit (coalesce(workflow_namespace, namespace), workflow, step_index) WHERE workflow IS NOT NULL;

-- For retention, which asks of a month whether something has only just come into it.
CREATE INDEX kubernetes_execution_audit_received ON kubernetes_execution_audit USING brin (received_at);

-- Replaced and not made anew: whoever may read it may read it still.
CREATE OR REPLACE VIEW kubernetes_executions AS
SELECT DISTINCT ON (execution_uid)
    execution_uid, execution_name, namespace, cluster, action_type, target_namespace, target_kind, target_name,
    final, phase, code, success,
    -- What one attempt did to the cluster stays done when a later one fails, or has nothing left to do.
    CASE max(CASE effect WHEN 'applied' THEN 2 WHEN 'unknown' THEN 1 ELSE 0 END) OVER execution
        WHEN 2 THEN 'applied' WHEN 1 THEN 'unknown' ELSE 'none' END AS effect,
    output, error,
    -- Not how many rows there are: an attempt's may be in the executor's spool still, or older than what is kept.
    (max(attempt) OVER execution)::bigint AS attempts,
    min(start_time) OVER execution AS start_time,
    max(end_time) OVER execution AS end_time,
    workflow, step_index, requested_by, approved_by, dry_run, max_retries, trace_id,
    coalesce(workflow_namespace, CASE WHEN workflow IS NOT NULL THEN namespace END) AS workflow_namespace, target_api_version
FROM kubernetes_execution_audit
WINDOW execution AS (PARTITION BY execution_uid)
ORDER BY execution_uid, final DESC, attempt DESC, end_time DESC;
