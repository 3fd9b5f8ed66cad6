-- All executions of one workflow in the order of its steps. $1: namespace, $2: name of the workflow. Of two clusters that have
-- one by this name, both are there, one after the other.
SELECT cluster, step_index, namespace, execution_name, action_type, phase, code, effect, attempts, start_time, end_time, error
FROM kubernetes_executions
-- By UID, so that the view is made of these executions alone.
WHERE execution_uid = ANY (ARRAY(
    SELECT DISTINCT execution_uid FROM kubernetes_execution_audit WHERE coalesce(workflow_namespace, namespace) = $1 AND workflow = $2
))
ORDER BY cluster NULLS FIRST, step_index, start_time NULLS FIRST, execution_uid
