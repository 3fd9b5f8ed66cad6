//! Figures for operators. Labels hold no text of users: a type that is not in the catalogue is `other`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

type Labels = Vec<(&'static str, String)>;

/// What the controller asks the API server for: with each of these, `forbidden` is there before anything was.
const ASKED: [(&str, &[&str]); 8] = [
    ("kubernetesexecutions", &["get", "list", "watch", "patch", "delete"]),
    ("kubernetesexecutions/status", &["patch"]),
    ("jobs", &["get", "list", "watch", "create", "delete"]),
    ("pods", &["get", "list", "watch"]),
    ("pods/log", &["get"]),
    ("events", &["create"]),
    ("leases", &["get", "create", "update"]),
    ("configmaps", &["list", "create", "delete"]),
];

/// The figures.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    executions: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    jobs: Family<Labels, Counter>,
    job_creation: Histogram,
    queue_wait: Histogram,
    collect_lag: Histogram,
    phases: Family<Labels, Gauge>,
    retries: Family<Labels, Counter>,
    no_result: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
    forbidden: Family<Labels, Counter>,
    unreadable: Counter,
    deliveries: Family<Labels, Counter>,
    delivery: Histogram,
    backlog: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    spool: Family<Labels, Gauge>,
    spool_limit: Gauge,
    active: Gauge,
    waiting: Gauge,
    leader: Gauge,
    clock: Gauge<f64, AtomicU64>,
    reconciles: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("kubernetesexecution");
        let r = &mut registry;
        let all = Self {
            registry: Arc::default(),
            executions: metric(
                r,
                "action_execution",
                "Executions that have ended, by action type, final phase and code",
            ),
            durations: durations(r, "action_execution_duration_seconds", "Time from the first Job to the final phase"),
            jobs: metric(r, "job_creation", "Jobs that were created, or refused"),
            job_creation: histogram(
                r,
                "job_creation_duration_seconds",
                "Time of the request that creates a Job",
                0.001,
            ),
            queue_wait: histogram(r, "queue_wait_seconds", "Time from an execution's creation to its first Job", 0.01),
            collect_lag: histogram(
                r,
                "collect_lag_seconds",
                "Time from the end that a runner tells of to its record",
                0.01,
            ),
            phases: metric(r, "phase", "Executions that are not settled, by phase"),
            retries: metric(r, "retries", "Attempts that are followed by another one, by the code of the failure"),
            no_result: metric(r, "no_result", "Attempts that left no result"),
            requests: metric(r, "api_requests", "Requests to the API server, watches left out"),
            forbidden: metric(r, "forbidden", "Requests for which the controller's account lacks a permission"),
            unreadable: metric(r, "unreadable", "Stored executions that could not be read"),
            deliveries: metric(r, "audit_deliveries", "Audit events that were sent, by what the store made of them"),
            delivery: histogram(r, "audit_delivery_duration_seconds", "Time of one delivery of an audit event", 0.001),
            backlog: metric(r, "audit_backlog", "Audit events that are not acknowledged yet"),
            oldest: metric(r, "audit_oldest_seconds", "Age of the oldest audit event that is not acknowledged yet"),
            spool: metric(r, "audit_spool", "Audit events that are kept as ConfigMaps"),
            spool_limit: metric(r, "audit_spool_limit", "The most audit events that may be kept so"),
            active: metric(r, "job_active_total", "Executions that have been started and have not ended"),
            waiting: metric(r, "waiting", "Executions that wait for their turn"),
            leader: metric(r, "leader", "1 while this controller leads"),
            clock: metric(
                r,
                "clock_offset_seconds",
                "Seconds by which its clock is ahead of the API server's; negative: behind",
            ),
            reconciles: histogram(r, "reconcile_duration_seconds", "Time of one pass", 0.001),
        };
        all.begin();
        Self { registry: Arc::new(registry), ..all }
    }
}

fn metric<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// One whose buckets double from `first` seconds on.
fn histogram(registry: &mut Registry, name: &str, help: &str, first: f64) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(first, 2.0, 16));
    registry.register(name, help, histogram.clone());
    histogram
}

fn durations(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Histogram, fn() -> Histogram> {
    let durations: Family<Labels, Histogram, fn() -> Histogram> =
        Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.1, 2.0, 14)));
    registry.register(name, help, durations.clone());
    durations
}

/// Returns the type, if it is one of the catalogue's.
fn known(action_type: &str) -> String {
    let known = !actions::catalogue::ActionType::named(action_type).is_empty();
    if known { action_type.to_owned() } else { "other".to_owned() }
}

impl Metrics {
    /// Sets to 0 what alerts are about and whose labels are known: a counter that appears with its first count shows no
    /// increase, and one that is absent must not be taken for one that is fine.
    fn begin(&self) {
        for (resource, verbs) in ASKED {
            for verb in verbs {
                let labels = vec![("resource", resource.to_owned()), ("verb", (*verb).to_owned())];
                drop(self.forbidden.get_or_create(&labels));
            }
        }
        let each = |family: &Family<Labels, Counter>, label: &'static str, values: &[&str]| {
            for value in values {
                drop(family.get_or_create(&vec![(label, (*value).to_owned())]));
            }
        };
        each(&self.no_result, "reason", &["NoResult", "NeverStarted"]);
        each(&self.jobs, "status", &["created", "refused"]);
        each(&self.deliveries, "answer", &["kept", "refused", "later"]);
        self.spool(0, 0);
    }

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

    /// Records the time that the creation of a Job took, and for the first one how long its execution had waited.
    pub fn job_created(&self, took: Duration, waited: Option<Duration>) {
        self.job("created");
        self.job_creation.observe(took.as_secs_f64());
        if let Some(waited) = waited {
            self.queue_wait.observe(waited.as_secs_f64());
        }
    }

    /// Records the time between the end of an attempt, by its runner's clock, and its record.
    pub fn collected(&self, lag: Duration) {
        self.collect_lag.observe(lag.as_secs_f64());
    }

    /// Sets how many executions there are in each phase.
    pub fn phases(&self, counts: &[(&'static str, usize)]) {
        for (phase, count) in counts {
            let gauge = self.phases.get_or_create(&vec![("phase", (*phase).to_owned())]);
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
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

    /// Counts a delivery of an audit event.
    pub fn delivered(&self, answer: &str, took: Duration) {
        self.deliveries.get_or_create(&vec![("answer", answer.to_owned())]).inc();
        self.delivery.observe(took.as_secs_f64());
    }

    /// Sets how many audit events are not acknowledged yet, and the age of the oldest.
    pub fn backlog(&self, count: usize, oldest: Duration) {
        self.backlog.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.oldest.set(oldest.as_secs_f64());
    }

    /// Sets how many the spool may hold.
    pub fn spool_limit(&self, most: usize) {
        self.spool_limit.set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// Sets how many audit events the spool holds.
    pub fn spool(&self, waiting: usize, refused: usize) {
        for (state, count) in [("waiting", waiting), ("refused", refused)] {
            let gauge = self.spool.get_or_create(&vec![("state", state.to_owned())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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

    /// Sets by how many seconds the clock is ahead of the API server's.
    pub fn clock_offset(&self, seconds: f64) {
        self.clock.set(seconds);
    }

    /// Records the time of a pass.
    pub fn pass(&self, took: Duration) {
        self.reconciles.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    #[test]
    fn what_alerts_are_about_is_there_from_the_start() {
        let text = Metrics::default().text();
        for line in [
            &format!("no_result_total{{reason=\"{}\"}} 0", Reason::NoResult.name()),
            &format!("no_result_total{{reason=\"{}\"}} 0", Reason::NeverStarted.name()),
            "forbidden_total{resource=\"jobs\",verb=\"create\"} 0",
            "job_creation_total{status=\"refused\"} 0",
            "audit_spool{state=\"refused\"} 0",
            "audit_oldest_seconds 0.0",
            "unreadable_total 0",
            "leader 0",
        ] {
            assert!(text.contains(&format!("\nkubernetesexecution_{line}\n")), "{line}: {text}");
        }
    }

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
