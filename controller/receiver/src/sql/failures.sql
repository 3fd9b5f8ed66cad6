-- Executions that ended without success, the newest first. $1: from when, such as now() - interval '1 day'.
SELECT end_time, namespace, execution_name, action_type, target_kind, target_name, phase, code, effect, retry_count, error
FROM kubernetes_execution_audit
WHERE final AND NOT success AND end_time > $1
ORDER BY end_time DESC, event_id
