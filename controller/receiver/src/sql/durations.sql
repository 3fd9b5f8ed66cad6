-- Durations of attempts by action, the slowest first, in milliseconds. $1: from when, such as now() - interval '1 day'.
-- Dry runs and attempts of unknown duration are left out.
SELECT cluster, action_type,
    count(*) AS attempts,
    count(*) FILTER (WHERE NOT success) AS failed,
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms)) AS p50_ms,
    round(percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms)) AS p95_ms
FROM kubernetes_execution_audit
WHERE duration_ms IS NOT NULL AND NOT dry_run AND end_time > $1
GROUP BY cluster, action_type
ORDER BY p95_ms DESC, cluster NULLS FIRST, action_type
