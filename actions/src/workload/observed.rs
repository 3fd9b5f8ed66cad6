//! Waits until a workload's controller has seen what was written.

use std::time::Duration;

use contract::waiting::Terminating;
use jiff::Timestamp;
use serde_json::Value;

use super::Workload;
use super::causes::{self, Memory, Situation};
use super::clues::Clues;
use super::rollout::{self, Pending, RolloutStatus};
use super::tally::{Goal, Tally};
use super::wait::{self, Wait};
use crate::cluster::error::Result;
use crate::cluster::run::RunContext;
use crate::cluster::{Cluster, Watch};
use crate::k8s::object::number;
use crate::k8s::{Kind, ObjectRef};

/// Waits until the controller has observed the generation of this state; returns the workload as it then is.
pub async fn observed(
    cluster: &Cluster,
    kind: Kind,
    object: &ObjectRef,
    written: &Value,
    run: &RunContext,
) -> Result<Value> {
    let now = cluster.watch_object(object, written.clone()).await?;
    let generation = number(written, "/metadata/generation");
    let (clues, began) = (Clues::of(object), cluster.server_time(run.now));
    let mut observed = Observed { kind, object, generation, now, clues, began };
    wait::until_done(&mut observed, cluster, run).await?;
    wait::still_there(object, observed.value()).cloned()
}

/// A workload whose controller is waited for.
struct Observed<'a> {
    kind: Kind,
    object: &'a ObjectRef,
    generation: i64,
    now: Watch<Value>,
    clues: Clues,
    began: Timestamp,
}

impl Observed<'_> {
    fn value(&self) -> Option<&Value> {
        self.now.items().get(self.object.name.as_str())
    }
}

impl Wait for Observed<'_> {
    fn object(&self) -> &ObjectRef {
        self.object
    }

    fn clues(&mut self) -> &mut Clues {
        &mut self.clues
    }

    fn lost(&self) -> bool {
        wait::still_there(self.object, self.value()).is_err()
    }

    async fn look(&mut self, cluster: &Cluster) -> Result<RolloutStatus> {
        let seen = Workload::read(self.kind, wait::still_there(self.object, self.value())?);
        if seen.has_observed(self.generation) {
            return Ok(RolloutStatus::Done { surge: 0 });
        }
        let goal = Goal {
            generation: self.generation,
            revision: None,
            stale_deadline: None,
            terminating: Terminating::Ignore,
            settle: Duration::ZERO,
            began: self.began,
            now: cluster.server_now(),
        };
        let causes = causes::of(Situation {
            target: self.object,
            controller: self.object,
            workload: &seen,
            tally: &Tally::default(),
            sets: &[],
            goal,
            memory: &Memory::default(),
            evidence: self.clues.evidence(),
        });
        Ok(RolloutStatus::Pending(Pending::plain(rollout::not_observed(self.generation), causes)))
    }

    async fn changed(&mut self) -> Result<()> {
        self.now.changed().await
    }

    async fn refresh(&mut self, cluster: &Cluster) -> Result<bool> {
        self.now.refresh(cluster).await
    }
}
