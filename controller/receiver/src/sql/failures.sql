-- Executions that ended without success, the newest first. $1: from when, such as now() - interval '1 day'.
-- By their own end: what an event tells that came days later counts for the day of which it tells.
-- The effect is that of all attempts: what one of them did stays done when the last one did nothing.
SELECT ended.end_time, ended.cluster, ended.namespace, ended.execution_name, ended.action_type, ended.target_kind, ended.target_name, ended.phase,
    ended.code, whole.effect, ended.dry_run, ended.retry_count, ended.error
FROM kubernetes_execution_audit AS ended
-- By UID, so that the view is made of these executions alone.
JOIN (
    SELECT execution_uid, effect FROM kubernetes_executions WHERE execution_uid = ANY (ARRAY(
        SELECT execution_uid FROM kubernetes_execution_audit WHERE final AND NOT success AND end_time > $1
    ))
) AS whole USING (execution_uid)
WHERE ended.final AND NOT ended.success AND ended.end_time > $1
ORDER BY ended.end_time DESC, ended.event_id
