-- Who asked for what, and how often it succeeded. $1: from when, such as now() - interval '1 day'.
-- requested_by is null where the cluster does not stamp who created an execution: nobody is guessed.
SELECT requested_by, cluster, namespace, action_type, dry_run,
    count(*) AS executions,
    count(*) FILTER (WHERE NOT success) AS failed,
    max(end_time) AS last
FROM kubernetes_execution_audit
WHERE final AND end_time > $1
GROUP BY requested_by, cluster, namespace, action_type, dry_run
ORDER BY requested_by NULLS LAST, executions DESC, cluster NULLS FIRST, namespace, action_type, dry_run
