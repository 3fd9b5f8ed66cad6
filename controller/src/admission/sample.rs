//! A Job in which everything is set that the controller may set.

use std::time::Duration;

use actions::catalogue::Verb;
use contract::condition::Condition;
use serde_json::{Map, Value};

use crate::api::{ActionSpec, KubernetesExecution, KubernetesExecutionSpec, TRACEPARENT, TargetSpec};
use crate::job::{self, Start};
use crate::plan::Runnable;
use crate::settings::Settings;

/// Returns the Job.
pub fn job() -> Value {
    let text = || Some("x".to_owned());
    let condition = || Condition {
        r#type: "x".to_owned(),
        description: None,
        rego: None,
        required: true,
        timeout: contract::duration::Duration::seconds(1),
    };
    let target = TargetSpec {
        namespace: text(),
        resource_kind: text(),
        resource_name: text(),
        uid: text(),
        api_version: text(),
        selector: text(),
    };
    let spec = KubernetesExecutionSpec {
        workflow_execution_ref: None,
        step_index: None,
        action: ActionSpec { r#type: "scale-deployment".to_owned(), parameters: Some(Map::new()), target },
        timeout: None,
        max_retries: 0,
        pre_conditions: vec![condition()],
        post_conditions: vec![condition()],
        dry_run: true,
        reason: text(),
        cluster: None,
        approval_required: false,
        approved_by: None,
        suspend: false,
        cancel: false,
        starting_deadline_seconds: 1,
        ttl_seconds_after_finished: None,
    };
    let mut execution = KubernetesExecution::new("x", spec);
    execution.metadata.uid = text();
    execution.metadata.annotations = Some([(TRACEPARENT.to_owned(), "x".to_owned())].into());
    let plan = Runnable {
        verb: Verb::Scale,
        action_type: "scale-deployment".to_owned(),
        account: "action-scale-deployment".to_owned(),
        namespace: text(),
        target_uid: text(),
        repeatable: true,
    };
    let mut settings = Settings::default();
    settings.target_events = true;
    settings.upload_hosts = text();
    job::job(&execution, &plan, &Start { attempt: 1, timeout: Duration::from_mins(1) }, &settings, Some("{}"))
}
