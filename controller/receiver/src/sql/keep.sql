-- Keeps an event once: $1 its id, $2 its end, $3 the event as it was read, $4 the event as it came.
-- One statement, so one transaction. Whoever posts the same id meanwhile waits at the primary key of the table of ids, and
-- then inserts nothing if this one is committed, or does it in its place if not.
WITH fresh AS (
    INSERT INTO kubernetes_execution_audit_id (event_id, end_time) VALUES ($1, $2)
    ON CONFLICT DO NOTHING
    RETURNING event_id, end_time
)
INSERT INTO kubernetes_execution_audit (
    event_id, execution_uid, execution_name, namespace, cluster, action_type,
    target_namespace, target_api_version, target_kind, target_name,
    attempt, final, phase, code, effect, success, output, error,
    start_time, end_time, duration_ms,
    job_name, pod_name, exit_code, cpu_millicores, memory_bytes, image_id,
    workflow, workflow_namespace, step_index, requested_by, approved_by, dry_run, retry_count, max_retries, trace_id, payload
)
SELECT
    event_id, event ->> 'executionUid', event ->> 'executionName', event ->> 'namespace', event ->> 'cluster', event ->> 'actionType',
    event #>> '{target,namespace}', event #>> '{target,apiVersion}', event #>> '{target,resourceKind}', event #>> '{target,resourceName}',
    (event ->> 'attempt')::integer, (event ->> 'final')::boolean, event ->> 'phase', event ->> 'code', event ->> 'effect',
    (event #>> '{result,success}')::boolean, event #>> '{result,output}', event #>> '{result,error}',
    end_time - duration * interval '1 microsecond' / 1000, end_time, duration / 1000000,
    event #>> '{jobInfo,name}', event #>> '{jobInfo,podName}', (event #>> '{jobInfo,exitCode}')::integer,
    (event #>> '{jobInfo,resourceUsage,cpuMillicores}')::bigint, (event #>> '{jobInfo,resourceUsage,memoryBytes}')::bigint,
    event ->> 'imageId',
    event ->> 'workflow', event ->> 'workflowNamespace', (event ->> 'stepIndex')::integer, event ->> 'requestedBy', event ->> 'approvedBy',
    coalesce((event ->> 'dryRun')::boolean, false), (event ->> 'retryCount')::integer, (event ->> 'maxRetries')::integer,
    event ->> 'traceId', $4::jsonb
FROM fresh
-- 0 is 'not known'.
CROSS JOIN (SELECT $3 AS event, nullif(($3 #>> '{result,duration}')::bigint, 0) AS duration) AS read
-- Rows that came from a backup without their ids are there too.
ON CONFLICT DO NOTHING
