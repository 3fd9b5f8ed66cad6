-- All executions of one workflow in the order of its steps. $1: namespace, $2: name of the workflow.
SELECT step_index, execution_name, action_type, phase, code, effect, attempts, start_time, end_time, error
FROM kubernetes_executions
-- By UID, so that the view is made of these executions alone.
WHERE execution_uid = ANY (ARRAY(
    SELECT DISTINCT execution_uid FROM kubernetes_execution_audit WHERE namespace = $1 AND workflow = $2
))
ORDER BY step_index, start_time NULLS FIRST, execution_uid
