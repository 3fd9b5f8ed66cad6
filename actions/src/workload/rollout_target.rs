//! A workload whose pod template an action changes: the parts that those actions share.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lookup::LiveObject;
use super::revisions::{self, Revision};
use super::wait::RolloutWait;
use super::{Workload, Written, owners};
use crate::cluster::Cluster;
use crate::cluster::error::Result;
use crate::cluster::executions::{self, Earlier, Execution};
use crate::cluster::run::RunContext;
use crate::k8s::object::{controller, text};
use crate::k8s::template::template_hash;
use crate::k8s::{Kind, Permission};

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Debug)]
pub struct RolloutTarget {
    /// The object.
    pub live: LiveObject,
    /// Kind of the object.
    pub kind: Kind,
    /// Revisions of the workload, newest first.
    pub revisions: Vec<Revision>,
}

impl RolloutTarget {
    /// Takes a workload that was looked up. Its revisions are not read yet.
    pub fn new(live: LiveObject, kind: Kind, run: &RunContext) -> Self {
        if let Some(warning) = Workload::read(kind, &live.value).partition_warning(&live.object) {
            run.progress.warn(warning);
        }
        Self { live, kind, revisions: Vec::new() }
    }

    /// Reads the revisions too.
    pub async fn with_revisions(self, cluster: &Cluster, run: &RunContext) -> Result<Self> {
        let (live, revisions) = revisions::beside(cluster, self.kind, self.live, run).await?;
        Ok(Self { live, revisions, ..self })
    }

    /// Returns the permissions to find a workload, to patch it, and with `waits` to follow its pods.
    pub fn permissions(kind: Kind, waits: bool) -> BTreeSet<Permission> {
        let resource = kind.resource();
        let mut all = BTreeSet::from([
            Permission::on_target("get", &resource),
            Permission::on_target("patch", &resource),
            // To find entries of earlier executions, and to recognize the new pods.
            Permission::of("list", &revisions::resource(kind)),
        ]);
        if waits {
            all.insert(Permission::on_target("watch", &resource));
            all.insert(Permission::of("list", &Kind::Pod.resource()));
            all.insert(Permission::of("watch", &Kind::Pod.resource()));
            all.extend(owners::set_permissions(kind));
        }
        all
    }

    /// Finds this execution on the object and its revisions.
    pub fn earlier(&self, run: &RunContext, request: &Value) -> Earlier {
        let revisions = self.revisions.iter().map(|revision| &revision.object);
        executions::earlier(run, request, std::iter::once(&self.live.value).chain(revisions))
    }

    /// Returns the revision whose template the workload has now.
    pub fn current(&self) -> Option<&Revision> {
        revisions::current(&self.revisions, &self.live.value)
    }

    /// Returns the revision with this name.
    pub fn named(&self, name: Option<&str>) -> Option<&Revision> {
        self.revisions.iter().find(|revision| Some(revision.name.as_str()) == name)
    }

    /// Returns the reason if another controller owns the template and would put its own back.
    pub fn owner_of_template(&self) -> Option<String> {
        let owner = controller(&self.live.value)?;
        let (kind, name) = (text(owner, "/kind").unwrap_or("object"), text(owner, "/name").unwrap_or_default());
        Some(format!(
            "{} is controlled by the {kind} {name}, which would put its own template back: roll that back",
            self.live.object
        ))
    }

    /// Returns why a change of the template would replace no pod.
    pub fn unreachable(&self) -> Option<String> {
        let why = Workload::read(self.kind, &self.live.value).unreachable()?;
        Some(format!("{} {why}", self.live.object))
    }

    /// Returns how the result of an execution was undone: the template was changed, or is not rolled out any more. The
    /// sentence continues the object's name. An execution without a goal says nothing about the template.
    pub fn undone(&self, execution: &Execution) -> Option<String> {
        let template = self.live.value.pointer("/spec/template").map(template_hash);
        let goal = text(&execution.goal, "/template").map(str::to_owned);
        if goal.is_some() && goal != template {
            return Some("has another pod template by now: someone else changed it".to_owned());
        }
        // A run would not have started in such a state, so somebody else has changed it since.
        let workload = Workload::read(self.kind, &self.live.value);
        if workload.paused { Some("is paused by now".to_owned()) } else { workload.unreachable() }
    }

    /// Waits until the pods of the written template are there. Fails if somebody overwrites the template; `first` may
    /// describe the change better.
    pub async fn verify(
        &self,
        cluster: &Cluster,
        now: &Value,
        run: &RunContext,
        first: impl Fn(&Value) -> Option<String>,
    ) -> Result<()> {
        let written = Written::of(now);
        let overwritten = |value: &Value| first(value).or_else(|| written.overwritten(value));
        let (object, kind) = (&self.live.object, self.kind);
        let wait =
            RolloutWait { object, kind, now: now.clone(), of_newest_revision: true, overwritten: &overwritten, run };
        wait.wait(cluster).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::testing::{live, run};
    use crate::cluster::executions::{ChangeCause, Intent};
    use contract::annotations::EXECUTIONS_RESTART;
    use rstest::rstest;
    use serde_json::json;

    fn target(object: Value) -> RolloutTarget {
        RolloutTarget { live: live(Kind::StatefulSet, object), kind: Kind::StatefulSet, revisions: Vec::new() }
    }

    /// The goal is the written template, in any order of its fields.
    #[rstest]
    #[case::as_written(json!({ "spec": { "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "")]
    #[case::another_order(json!({ "spec": { "template": { "spec": { "a": { "x": 2, "y": [1] }, "b": 1 } } } }), "")]
    #[case::another_value(json!({ "spec": { "template": { "spec": { "b": 2, "a": { "y": [1], "x": 2 } } } } }), "another pod template")]
    #[case::gone(json!({}), "another pod template")]
    #[case::on_delete(json!({ "spec": { "updateStrategy": { "type": "OnDelete" }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "OnDelete")]
    #[case::out_of_reach(json!({ "spec": { "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 2 } }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "the partition 2")]
    #[case::partly_in_reach(json!({ "spec": { "replicas": 2, "updateStrategy": { "rollingUpdate": { "partition": 1 } }, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "")]
    #[case::paused(json!({ "spec": { "paused": true, "template": { "spec": { "b": 1, "a": { "y": [1], "x": 2 } } } } }), "is paused")]
    fn knows_whether_its_goal_stands(#[case] object: Value, #[case] says: &str) {
        let execution = Execution::new(
            &run(),
            &Intent {
                annotation: EXECUTIONS_RESTART,
                request: json!({}),
                template: json!({ "spec": { "b": 1, "a": { "y": [1], "x": 2 } } }),
                goal: json!({}),
                previous: json!({}),
                cause: ChangeCause::Keep,
            },
        );
        match target(object).undone(&execution) {
            Some(why) => assert!(!says.is_empty() && why.contains(says), "{why}"),
            None => assert_eq!(says, ""),
        }
        let without = Execution { goal: Value::Null, ..execution };
        assert_eq!(target(json!({})).undone(&without), None);
    }
}
