//! Figures for operators. Labels hold no text of users: a type that is not in the catalogue is `other`.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;

/// The figures.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    executions: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    jobs: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    no_result: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    forbidden: Family<Labels, Counter>,
    unreadable: Counter,
    active: Gauge,
    waiting: Gauge,
    leader: Gauge,
    reconciles: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("kubernetesexecution");
        let all = Self {
            registry: Arc::default(),
            executions: counters(&mut registry, "action_execution", "Executions that have ended"),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.1, 2.0, 14))),
            jobs: counters(&mut registry, "job_creation", "Jobs that were created, or refused"),
            retries: counters(
                &mut registry,
                "retries",
                "Attempts that are followed by another one, by the code of the failure",
            ),
            no_result: counters(&mut registry, "no_result", "Attempts that left no result"),
            requests: counters(&mut registry, "api_requests", "Requests to the API server, watches left out"),
            forbidden: counters(
                &mut registry,
                "forbidden",
                "Requests for which the controller's account lacks a permission",
            ),
            unreadable: Counter::default(),
            active: gauge(&mut registry, "job_active_total", "Executions that have been started and have not ended"),
            waiting: gauge(&mut registry, "waiting", "Executions that wait for their turn"),
            leader: gauge(&mut registry, "leader", "1 while this controller leads"),
            reconciles: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
        };
        registry.register(
            "action_execution_duration_seconds",
            "Time from the first Job to the final phase",
            all.durations.clone(),
        );
        registry.register("reconcile_duration_seconds", "Time of one pass", all.reconciles.clone());
        registry.register("unreadable", "Stored executions that could not be read", all.unreadable.clone());
        Self { registry: Arc::new(registry), ..all }
    }
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter> {
    let counters = Family::default();
    registry.register(name, help, counters.clone());
    counters
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Returns the type, if it is one of the catalogue's.
fn known(action_type: &str) -> String {
    let known = !actions::catalogue::ActionType::named(action_type).is_empty();
    if known { action_type.to_owned() } else { "other".to_owned() }
}

impl Metrics {
    /// Returns the text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _infallible = encode(&mut text, &self.registry);
        text
    }

    /// Counts an execution that has ended.
    pub fn ended(&self, action_type: &str, phase: &str, code: &str, took: Option<Duration>) {
        let action = ("action", known(action_type));
        let labels = vec![action.clone(), ("status", phase.to_owned()), ("code", code.to_owned())];
        self.executions.get_or_create(&labels).inc();
        if let Some(took) = took {
            self.durations.get_or_create(&vec![action]).observe(took.as_secs_f64());
        }
    }

    /// Counts an attempt that is followed by another one.
    pub fn retried(&self, code: &str) {
        self.retries.get_or_create(&vec![("code", code.to_owned())]).inc();
    }

    /// Counts an attempt that left no result.
    pub fn no_result(&self, reason: &str) {
        self.no_result.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// Counts a Job.
    pub fn job(&self, status: &str) {
        self.jobs.get_or_create(&vec![("status", status.to_owned())]).inc();
    }

    /// Counts a request.
    pub fn request(&self, verb: &str, resource: &str, code: &str) {
        let labels = vec![("verb", verb.to_owned()), ("resource", resource.to_owned()), ("code", code.to_owned())];
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a request that the account may not send.
    pub fn forbidden(&self, resource: &str, verb: &str) {
        self.forbidden.get_or_create(&vec![("resource", resource.to_owned()), ("verb", verb.to_owned())]).inc();
    }

    /// Counts a stored execution that could not be read.
    pub fn unreadable(&self) {
        self.unreadable.inc();
    }

    /// Sets how many executions run and wait.
    pub fn queue(&self, active: usize, waiting: usize) {
        self.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Sets whether this controller leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Records the time of a pass.
    pub fn pass(&self, took: Duration) {
        self.reconciles.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_no_text_of_users() {
        let metrics = Metrics::default();
        metrics.ended("scale-deployment", "Completed", "Changed", Some(Duration::from_secs(1)));
        metrics.ended("whatever-a-user-writes", "Failed", "InvalidRequest", None);
        let text = metrics.text();
        assert!(text.contains(r#"kubernetesexecution_action_execution_total{action="scale-deployment",status="Completed",code="Changed"} 1"#), "{text}");
        assert!(text.contains(r#"action="other""#) && !text.contains("whatever"), "{text}");
    }
}
