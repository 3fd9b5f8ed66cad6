-- Audit events of KubernetesExecutions: one row for the end of each attempt.
-- A month of ends is a partition of its own, so that retention drops tables in place of deleting rows.

CREATE TABLE kubernetes_execution_audit (
    event_id         text        NOT NULL,
    execution_uid    text        NOT NULL,
    execution_name   text        NOT NULL,
    namespace        text        NOT NULL,
    cluster          text,
    action_type      text        NOT NULL,
    target_namespace text,
    target_kind      text,
    target_name      text,
    attempt          integer     NOT NULL,
    final            boolean     NOT NULL,
    phase            text        NOT NULL,
    code             text        NOT NULL,
    effect           text        NOT NULL,
    success          boolean     NOT NULL,
    output           text        NOT NULL,
    error            text        NOT NULL,
    start_time       timestamptz,
    end_time         timestamptz NOT NULL,
    duration_ms      bigint,
    job_name         text,
    pod_name         text,
    exit_code        integer,
    cpu_millicores   bigint,
    memory_bytes     bigint,
    image_id         text,
    workflow         text,
    step_index       integer,
    requested_by     text,
    approved_by      text,
    dry_run          boolean     NOT NULL,
    retry_count      integer     NOT NULL,
    max_retries      integer     NOT NULL,
    trace_id         text,
    received_at      timestamptz NOT NULL DEFAULT now(),
    payload          jsonb       NOT NULL,
    -- PostgreSQL wants the partition column in it: that an id is there once is what the table of ids is for.
    PRIMARY KEY (event_id, end_time)
) PARTITION BY RANGE (end_time);

COMMENT ON TABLE kubernetes_execution_audit IS 'Ends of attempts of KubernetesExecutions; a view has one row for each execution';
COMMENT ON COLUMN kubernetes_execution_audit.event_id IS '`<execution_uid>/<attempt>`: there once';
COMMENT ON COLUMN kubernetes_execution_audit.execution_uid IS 'UID of the execution, the `ACTION_ID` of all its attempts';
COMMENT ON COLUMN kubernetes_execution_audit.execution_name IS 'Name of the execution';
COMMENT ON COLUMN kubernetes_execution_audit.namespace IS 'Namespace of the execution';
COMMENT ON COLUMN kubernetes_execution_audit.cluster IS 'Name of the cluster, where the operator gave it one';
COMMENT ON COLUMN kubernetes_execution_audit.action_type IS 'Action type, such as `scale-deployment`';
COMMENT ON COLUMN kubernetes_execution_audit.target_namespace IS 'Namespace of the target; null for a node';
COMMENT ON COLUMN kubernetes_execution_audit.target_kind IS 'Kind of the target';
COMMENT ON COLUMN kubernetes_execution_audit.target_name IS 'Name of the target; null where a selector names it (see `payload`)';
COMMENT ON COLUMN kubernetes_execution_audit.attempt IS 'Number of the attempt, from 1; 0 for an end that no attempt brought';
COMMENT ON COLUMN kubernetes_execution_audit.final IS 'True for the event that ended the execution';
COMMENT ON COLUMN kubernetes_execution_audit.phase IS 'Phase of the execution after this: `Retrying`, `Completed`, `Failed`, `TimedOut` or `Cancelled`';
COMMENT ON COLUMN kubernetes_execution_audit.code IS 'Code of the runner, such as `Changed`; for attempt 0 the reason for the phase';
COMMENT ON COLUMN kubernetes_execution_audit.effect IS 'Effect of this attempt on the cluster: `none`, `applied` or `unknown`';
COMMENT ON COLUMN kubernetes_execution_audit.success IS 'True when the action did what was asked, or nothing had to be done';
COMMENT ON COLUMN kubernetes_execution_audit.output IS 'Sentence that says what was done';
COMMENT ON COLUMN kubernetes_execution_audit.error IS 'Sentence that says what went wrong';
COMMENT ON COLUMN kubernetes_execution_audit.start_time IS 'Start of the attempt: its end less its duration; null where that is not known';
COMMENT ON COLUMN kubernetes_execution_audit.end_time IS 'End of the attempt, by which the table is partitioned';
COMMENT ON COLUMN kubernetes_execution_audit.duration_ms IS 'Duration in milliseconds; null where it is not known';
COMMENT ON COLUMN kubernetes_execution_audit.job_name IS 'Name of the Job';
COMMENT ON COLUMN kubernetes_execution_audit.pod_name IS 'Name of its last pod';
COMMENT ON COLUMN kubernetes_execution_audit.exit_code IS 'Exit code of the container';
COMMENT ON COLUMN kubernetes_execution_audit.cpu_millicores IS 'CPU time over the duration, in thousandths of a CPU';
COMMENT ON COLUMN kubernetes_execution_audit.memory_bytes IS 'Peak memory';
COMMENT ON COLUMN kubernetes_execution_audit.image_id IS 'Image that ran, with its digest';
COMMENT ON COLUMN kubernetes_execution_audit.workflow IS 'Workflow that the execution is a step of';
COMMENT ON COLUMN kubernetes_execution_audit.step_index IS 'Index of the step, from 0';
COMMENT ON COLUMN kubernetes_execution_audit.requested_by IS 'User who created the execution; null where the cluster does not stamp it';
COMMENT ON COLUMN kubernetes_execution_audit.approved_by IS 'User who approved it';
COMMENT ON COLUMN kubernetes_execution_audit.dry_run IS 'True when nothing was to be changed';
COMMENT ON COLUMN kubernetes_execution_audit.retry_count IS 'Number of attempts after the first one, so far';
COMMENT ON COLUMN kubernetes_execution_audit.max_retries IS '`spec.maxRetries`';
COMMENT ON COLUMN kubernetes_execution_audit.trace_id IS 'Trace id that execution, Job and runner share';
COMMENT ON COLUMN kubernetes_execution_audit.received_at IS 'Time at which the event was kept';
COMMENT ON COLUMN kubernetes_execution_audit.payload IS 'The event as it came, parameters and selector included';

-- Takes what has no month of its own: what is old, or ahead of its time.
CREATE TABLE kubernetes_execution_audit_default PARTITION OF kubernetes_execution_audit DEFAULT;

-- The ids, each of them once, whatever its time. Written in the same statement as the event.
CREATE TABLE kubernetes_execution_audit_id (
    event_id text        PRIMARY KEY,
    end_time timestamptz NOT NULL
);
COMMENT ON TABLE kubernetes_execution_audit_id IS 'Ids of kubernetes_execution_audit, each once';
-- For retention, which forgets the ids of a month with its rows.
CREATE INDEX kubernetes_execution_audit_id_end ON kubernetes_execution_audit_id (end_time);

CREATE INDEX kubernetes_execution_audit_execution ON kubernetes_execution_audit (execution_uid);
CREATE INDEX kubernetes_execution_audit_namespace ON kubernetes_execution_audit (namespace, end_time);
CREATE INDEX kubernetes_execution_audit_action ON kubernetes_execution_audit (action_type, end_time);
CREATE INDEX kubernetes_execution_audit_target ON kubernetes_execution_audit (target_namespace, target_kind, target_name, end_time);
CREATE INDEX kubernetes_execution_audit_workflow ON kubernetes_execution_audit (namespace, workflow, step_index) WHERE workflow IS NOT NULL;
CREATE INDEX kubernetes_execution_audit_requester ON kubernetes_execution_audit (requested_by, end_time) WHERE requested_by IS NOT NULL;
CREATE INDEX kubernetes_execution_audit_failure ON kubernetes_execution_audit (end_time) WHERE final AND NOT success;

-- One row for each execution: the event that ended it, else that of its newest attempt.
CREATE VIEW kubernetes_executions AS
SELECT DISTINCT ON (execution_uid)
    execution_uid, execution_name, namespace, cluster, action_type, target_namespace, target_kind, target_name,
    final, phase, code, success,
    -- What one attempt did to the cluster stays done when a later one fails, or has nothing left to do.
    CASE max(CASE effect WHEN 'applied' THEN 2 WHEN 'unknown' THEN 1 ELSE 0 END) OVER execution
        WHEN 2 THEN 'applied' WHEN 1 THEN 'unknown' ELSE 'none' END AS effect,
    output, error,
    count(*) FILTER (WHERE attempt > 0) OVER execution AS attempts,
    min(start_time) OVER execution AS start_time,
    max(end_time) OVER execution AS end_time,
    workflow, step_index, requested_by, approved_by, dry_run, max_retries, trace_id
FROM kubernetes_execution_audit
WINDOW execution AS (PARTITION BY execution_uid)
ORDER BY execution_uid, final DESC, attempt DESC, end_time DESC;
COMMENT ON VIEW kubernetes_executions IS 'Executions: the event that ended each, else that of its newest attempt; the strongest effect of all attempts';
