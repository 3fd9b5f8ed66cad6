//! Decides whether a Job replaces a pod, and reads how many pods it wants now.

use serde_json::Value;

use crate::k8s::object::{annotation, number, text};

/// The state of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Number of pods that the Job wants to run now: none when it has ended or is suspended.
    pub wants: i64,
    /// True when the Job is complete.
    pub complete: bool,
    /// Reason why the Job failed.
    pub failed: Option<String>,
    /// Reason why the Job starts no pods now, although it has not ended.
    idle: Option<&'static str>,
    failures: i64,
    limit: i64,
    limit_per_index: Option<i64>,
    ignores_disruptions: bool,
}

impl JobView {
    /// Reads the Job.
    pub fn read(job: &Value) -> Self {
        let spec = |field: &str| job.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
        let parallelism = spec("parallelism").unwrap_or(1);
        let succeeded = number(job, "/status/succeeded");
        let left = spec("completions").map(|completions| (completions - succeeded - failed_indexes(job)).max(0));
        let condition = |kind: &str| {
            let all = job.pointer("/status/conditions").and_then(Value::as_array);
            all.into_iter()
                .flatten()
                .find(|one| text(one, "/type") == Some(kind) && text(one, "/status") == Some("True"))
        };
        let failed = condition("Failed").or_else(|| condition("FailureTarget"));
        let complete = condition("Complete").or_else(|| condition("SuccessCriteriaMet")).is_some();
        let idle = if job.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
            Some("is suspended")
        } else {
            (left.is_none() && succeeded > 0)
                .then_some("is a work queue of which a pod has ended well, and starts no more of them")
        };
        let over = complete || idle.is_some() || failed.is_some();
        Self {
            wants: if over { 0 } else { left.map_or(parallelism, |left| left.min(parallelism)) },
            complete,
            failed: failed.map(|one| text(one, "/message").unwrap_or("no message").to_owned()),
            idle,
            failures: number(job, "/status/failed"),
            limit: spec("backoffLimit").unwrap_or(6),
            limit_per_index: spec("backoffLimitPerIndex"),
            ignores_disruptions: ignores_disruptions(job),
        }
    }

    /// Returns why the Job would not replace this pod; the sentence continues the Job's name. (A container that ends
    /// with 0 when told to stop counts as a success, which is known only afterwards.)
    pub fn replaces_none(&self, pod: &Value) -> Option<String> {
        if self.complete {
            return Some("is complete".to_owned());
        }
        if let Some(why) = &self.failed {
            return Some(format!("has failed: {why}"));
        }
        if let Some(why) = self.idle {
            return Some(why.to_owned());
        }
        if self.ignores_disruptions {
            return None;
        }
        let of_index = annotation(pod, "batch.kubernetes.io/job-index-failure-count");
        let of_index = of_index.and_then(|count| count.parse::<i64>().ok()).unwrap_or(0);
        let used_up = match self.limit_per_index {
            Some(limit) => of_index >= limit,
            None => self.failures >= self.limit,
        };
        used_up.then(|| "counts an eviction as a failure, and its backoffLimit is used up".to_owned())
    }
}

/// Counts the indexes of an Indexed Job that failed for good, such as the 4 of `1,3-5`: they are not started again.
fn failed_indexes(job: &Value) -> i64 {
    let ranges = text(job, "/status/failedIndexes").unwrap_or_default();
    let length = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<i64>().ok()? - first.parse::<i64>().ok()? + 1)
    };
    ranges.split(',').filter_map(length).sum()
}

/// Returns whether the Job's `podFailurePolicy` does not count evictions.
fn ignores_disruptions(job: &Value) -> bool {
    let rules = job.pointer("/spec/podFailurePolicy/rules").and_then(Value::as_array);
    let about_disruptions = |rule: &Value| {
        let conditions = rule.pointer("/onPodConditions").and_then(Value::as_array);
        conditions.is_some_and(|all| all.iter().any(|one| text(one, "/type") == Some("DisruptionTarget")))
    };
    // Earlier rules about exit codes may decide otherwise, but the container's exit code is not known yet.
    rules.is_some_and(|rules| {
        rules.iter().any(|rule| text(rule, "/action") == Some("Ignore") && about_disruptions(rule))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::tries_left(json!({ "spec": { "backoffLimit": 1 } }), json!({}), "")]
    #[case::default_limit(json!({ "status": { "failed": 5 } }), json!({}), "")]
    #[case::default_limit_used(json!({ "status": { "failed": 6 } }), json!({}), "backoffLimit is used up")]
    #[case::no_tries(json!({ "spec": { "backoffLimit": 0 } }), json!({}), "backoffLimit is used up")]
    #[case::ignored(json!({ "spec": { "backoffLimit": 0, "podFailurePolicy": { "rules": [{ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] }] } } }), json!({}), "")]
    #[case::failed_by_policy(json!({ "spec": { "backoffLimit": 0, "podFailurePolicy": { "rules": [{ "action": "FailJob", "onPodConditions": [{ "type": "DisruptionTarget" }] }] } } }), json!({}), "backoffLimit is used up")]
    #[case::per_index(json!({ "spec": { "backoffLimit": 9, "backoffLimitPerIndex": 1 } }), json!({ "metadata": { "annotations": { "batch.kubernetes.io/job-index-failure-count": "1" } } }), "backoffLimit is used up")]
    #[case::another_index(json!({ "spec": { "backoffLimitPerIndex": 1 }, "status": { "failed": 9 } }), json!({}), "")]
    #[case::complete(json!({ "status": { "conditions": [{ "type": "Complete", "status": "True" }] } }), json!({}), "is complete")]
    #[case::failed(json!({ "status": { "conditions": [{ "type": "Failed", "status": "True", "message": "late" }] } }), json!({}), "has failed: late")]
    #[case::not_failed(json!({ "status": { "conditions": [{ "type": "Failed", "status": "False" }] } }), json!({}), "")]
    #[case::suspended(json!({ "spec": { "suspend": true } }), json!({}), "is suspended")]
    #[case::work_queue(json!({ "spec": { "parallelism": 2 } }), json!({}), "")]
    #[case::work_queue_that_ends(json!({ "spec": { "parallelism": 2 }, "status": { "succeeded": 1 } }), json!({}), "starts no more")]
    #[case::some_completions(json!({ "spec": { "completions": 2 }, "status": { "succeeded": 1 } }), json!({}), "")]
    fn a_job_replaces_while_it_has_tries(#[case] job: Value, #[case] pod: Value, #[case] says: &str) {
        match JobView::read(&job).replaces_none(&pod) {
            Some(why) => assert!(!says.is_empty() && why.contains(says), "{why}"),
            None => assert_eq!(says, ""),
        }
    }

    #[rstest]
    #[case::one(json!({}), 1)]
    #[case::parallel(json!({ "spec": { "parallelism": 3 } }), 3)]
    #[case::some_left(json!({ "spec": { "parallelism": 3, "completions": 5 }, "status": { "succeeded": 3 } }), 2)]
    #[case::failed_indexes(json!({ "spec": { "parallelism": 9, "completions": 9 }, "status": { "succeeded": 1, "failedIndexes": "1,3-5" } }), 4)]
    #[case::many_failed_indexes(json!({ "spec": { "parallelism": 9, "completions": 9 }, "status": { "failedIndexes": "2-7" } }), 3)]
    #[case::work_queue_that_ends(json!({ "spec": { "parallelism": 3 }, "status": { "succeeded": 1 } }), 0)]
    #[case::none_left(json!({ "spec": { "completions": 1 }, "status": { "succeeded": 1 } }), 0)]
    #[case::suspended(json!({ "spec": { "parallelism": 3, "suspend": true } }), 0)]
    #[case::failed(json!({ "status": { "conditions": [{ "type": "Failed", "status": "True" }] } }), 0)]
    #[case::complete(json!({ "status": { "conditions": [{ "type": "Complete", "status": "True" }] } }), 0)]
    fn wants_no_more_than_is_left(#[case] job: Value, #[case] wants: i64) {
        assert_eq!(JobView::read(&job).wants, wants);
    }
}
