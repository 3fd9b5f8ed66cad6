//! Leadership by a Lease, with client-go's rules, and the write gate. Leadership saves work; that nothing is done twice
//! rests on resourceVersions, on the Jobs' names and on `ACTION_ID`, never on it.
//!
//! Time is measured by our own clock, from when a renewal was *sent*: clocks of two machines are never compared. Another
//! controller's Lease counts as over when it has not changed for its duration, as seen here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::requests::{Failure, Requests};

/// Name of the Lease.
pub const NAME: &str = "execution-controller";

/// Says whether a write may be sent.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    /// Returns whether this controller leads for at least this long.
    pub fn allows(&self, for_long: Duration) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() + for_long < until)
    }

    /// Returns whether this controller leads now.
    pub fn leads(&self) -> bool {
        self.allows(Duration::ZERO)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// The Lease, as one controller sees it.
pub struct Lease {
    requests: Requests,
    path: String,
    identity: String,
    duration: Duration,
    renewal: Duration,
    gate: Gate,
    /// The Lease as it was seen last, and since when it is so.
    seen: Option<(Value, Instant)>,
}

impl Lease {
    /// A Lease in this namespace.
    pub fn new(
        requests: Requests,
        namespace: &str,
        identity: &str,
        duration: Duration,
        renewal: Duration,
        gate: Gate,
    ) -> Self {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        Self { requests, path, identity: identity.to_owned(), duration, renewal, gate, seen: None }
    }

    /// Waits until this controller leads.
    pub async fn acquire(&mut self) -> Result<(), Failure> {
        loop {
            match self.turn().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // Without the permission no waiting helps; whoever deploys it must be told.
                Err(failure) if failure.lacks_permission() => return Err(failure),
                Err(failure) => tracing::warn!(%failure, "failed to look at the Lease"),
            }
            tokio::time::sleep(self.renewal.min(Duration::from_secs(2))).await;
        }
    }

    /// Renews the Lease until it is lost.
    pub async fn hold(&mut self) {
        while self.gate.leads() {
            tokio::time::sleep(self.renewal).await;
            match self.turn().await {
                Ok(true) => {}
                Ok(false) => {
                    self.gate.set(None);
                    return;
                }
                Err(failure) => tracing::warn!(%failure, "failed to renew the Lease"),
            }
        }
    }

    /// Gives the Lease up, so that another controller need not wait for its end.
    pub async fn release(&mut self) {
        if !self.gate.leads() {
            return;
        }
        self.gate.set(None);
        let Some((lease, _)) = &self.seen else { return };
        let mut lease = lease.clone();
        if let Some(spec) = lease.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("holderIdentity".to_owned(), Value::Null);
            spec.insert("leaseDurationSeconds".to_owned(), json!(1));
        }
        if let Err(failure) = self.requests.replace::<Value>(&format!("{}/{NAME}", self.path), "leases", &lease).await {
            tracing::warn!(%failure, "failed to give the Lease up");
        }
    }

    /// Looks at the Lease, and takes or renews it if that is right. Returns whether it is ours.
    async fn turn(&mut self) -> Result<bool, Failure> {
        let one = format!("{}/{NAME}", self.path);
        let lease: Value = match self.requests.get(&one, "leases").await {
            Ok(lease) => lease,
            Err(failure) if failure.code() == Some(404) => return self.write(None).await,
            Err(failure) => return Err(failure),
        };
        let unchanged = self.seen.as_ref().is_some_and(|(known, _)| version(known) == version(&lease));
        if !unchanged {
            self.seen = Some((lease.clone(), Instant::now()));
        }
        let holder = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
        let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
        let since = self.seen.as_ref().map(|(_, since)| since.elapsed()).unwrap_or_default();
        if holder == self.identity || holder.is_empty() || since >= Duration::from_secs(seconds) {
            return self.write(Some(lease)).await;
        }
        Ok(false)
    }

    /// Writes the Lease on the basis of what was read: the resourceVersion makes one of two that try at once fail.
    async fn write(&mut self, before: Option<Value>) -> Result<bool, Failure> {
        let now = format!("{:.6}", Timestamp::now());
        let old = |field: &str| before.as_ref().and_then(|lease| lease.pointer(&format!("/spec/{field}"))).cloned();
        let ours = old("holderIdentity").is_some_and(|holder| holder == self.identity.as_str());
        let transitions = old("leaseTransitions").and_then(|number| number.as_i64()).unwrap_or_default();
        let spec = json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.duration.as_secs().max(1),
            "acquireTime": if ours { old("acquireTime").unwrap_or_else(|| json!(now)) } else { json!(now) },
            "renewTime": now,
            "leaseTransitions": if ours { transitions } else { transitions + 1 },
        });
        let sent = Instant::now();
        let answer: Result<Value, Failure> = if let Some(mut lease) = before {
            if let Some(lease) = lease.as_object_mut() {
                lease.insert("spec".to_owned(), spec);
            }
            self.requests.replace(&format!("{}/{NAME}", self.path), "leases", &lease).await
        } else {
            let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": NAME }, "spec": spec });
            self.requests.create(&self.path, "leases", &lease).await
        };
        match answer {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                self.gate.set(Some(sent + self.duration));
                Ok(true)
            }
            // Somebody else was first.
            Err(failure) if failure.code() == Some(409) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

fn version(lease: &Value) -> Option<&str> {
    lease.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_must_end_within_the_lease() {
        let gate = Gate::default();
        assert!(!gate.leads());
        gate.set(Some(Instant::now() + Duration::from_secs(20)));
        assert!(gate.leads() && gate.allows(Duration::from_secs(10)) && !gate.allows(Duration::from_secs(30)));
    }
}
