//! The phases in which a run is judged: `policy` and `preconditions` before the change, `postconditions` after it.

use std::collections::BTreeSet;
use std::time::Duration;

use actions::action::{Named, Subject};
use actions::cluster::Cluster;
use actions::error::{Error, Result};
use actions::object::Resource;
use actions::permission::Permission;
use actions::related::About;
use serde_json::Value;
use tokio::time::Instant;

use crate::conditions::checked::Checked;
use crate::conditions::input::ActionInput;
use crate::conditions::judge::{self, Case};
use crate::pipeline::PHASE_LIMIT;
use crate::request::Request;
use crate::trail::Trail;

/// What judges a run.
#[derive(Debug)]
pub struct Judging {
    checked: Checked,
    case: Case,
    trail: Trail,
}

impl Judging {
    /// By these policies and conditions.
    pub fn new(checked: Checked, request: &Request, parameters: Value, trail: Trail) -> Self {
        let action = ActionInput {
            r#type: request.action_type().unwrap_or_default(),
            verb: request.verb.map(|verb| verb.name().to_owned()).unwrap_or_default(),
            id: request.id.as_ref().map(ToString::to_string).unwrap_or_default(),
            reason: request.reason.clone().unwrap_or_default(),
            dry_run: request.dry_run,
            ..ActionInput::default()
        };
        Self { checked, case: Case { action, parameters }, trail }
    }

    /// What it needs to read, for a target of this kind.
    pub fn permissions(&self, resource: &Resource) -> BTreeSet<Permission> {
        self.checked.permissions_beforehand(resource)
    }

    /// What is judged, about a target that was found.
    pub fn case(&self, about: &About) -> Case {
        let action = ActionInput {
            // What it is done to, also when a pod was named that led there: a policy must not be walked around.
            r#type: match &about.object {
                Some(object) => format!("{}-{}", self.case.action.verb, object.resource.kind().to_lowercase()),
                None => self.case.action.r#type.clone(),
            },
            kind: about.object.as_ref().map(|object| object.resource.kind().to_owned()).unwrap_or_default(),
            namespace: about.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..self.case.action.clone()
        };
        Case { action, parameters: self.case.parameters.clone() }
    }

    /// The policies and conditions.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The policy and the preconditions, on the target as it was found: `Refused` when one of them says no.
    pub async fn before(&self, cluster: &Cluster, target: &impl Subject, named: &Named) -> Result<()> {
        let about = About::found(target, named);
        let case = self.case(&about);
        self.fits(&about)?;
        if let Some(policy) = &self.checked.policy {
            let cluster = self.phase(cluster, "policy", PHASE_LIMIT);
            let denials = judge::denials(policy, &case, &about.value, cluster.remaining()).await?;
            if !denials.is_empty() {
                return Err(Error::Refused(format!(
                    "the policy denies it: {}; nothing was changed",
                    denials.join("; ")
                )));
            }
        }
        if self.checked.before.is_empty() {
            return Ok(());
        }
        let cluster = self.phase(cluster, "preconditions", PHASE_LIMIT);
        let results = judge::before(&self.checked, &case, &about, &cluster).await?;
        self.trail.facts().before.clone_from(&results);
        let progress = self.trail.facts().progress.clone();
        match judge::objection(&self.checked.before, &results, "precondition", &progress) {
            Some(why) => Err(Error::Refused(format!("{why}; nothing was changed"))),
            None => Ok(()),
        }
    }

    /// Whether everything that is required can say something about this target. Also what is asked afterwards: that it never
    /// could is to be known before the change.
    fn fits(&self, about: &About) -> Result<()> {
        let all = self.checked.before.iter().chain(&self.checked.after).filter(|ready| ready.condition.required);
        let misfits = all.clone().filter_map(|ready| ready.misfit(about.target_kind()));
        let absent = all.flat_map(|ready| ready.related.iter()).filter_map(|one| one.unfit(about));
        let mut problems: Vec<String> = misfits.chain(absent).collect();
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(Error::InvalidRequest(problems.join("; "))) }
    }

    /// The postconditions, until they hold: `NotVerified` when one that is required does not.
    pub async fn after(&self, cluster: &Cluster, target: &impl Subject, named: &Named) -> Result<()> {
        if self.checked.after.is_empty() {
            return Ok(());
        }
        let longest = self.checked.after.iter().map(|ready| ready.condition.timeout.get()).max().unwrap_or_default();
        // Each has its own timeout; the look at its end takes time too.
        let cluster = self.phase(cluster, "postconditions", longest + PHASE_LIMIT);
        let about = About::found(target, named);
        let case = self.case(&about);
        let progress = self.trail.facts().progress.clone();
        let record = |results| self.trail.facts().after = results;
        let required = self.checked.after.iter().any(|ready| ready.condition.required);
        match judge::after(&self.checked, &case, about, &cluster, &progress, record).await {
            Ok(results) => match judge::objection(&self.checked.after, &results, "postcondition", &progress) {
                Some(why) => Err(Error::NotVerified(why)),
                None => Ok(()),
            },
            // The change was made: that they could not be looked at is no refusal, and no missing permission of the action.
            Err(error) if required => {
                Err(Error::NotVerified(format!("the postconditions could not be evaluated: {}", error.full_message())))
            }
            Err(error) => {
                progress.warn(format!("the postconditions could not be evaluated: {}", error.full_message()));
                Ok(())
            }
        }
    }

    fn phase(&self, cluster: &Cluster, name: &'static str, limit: Duration) -> Cluster {
        self.trail.enter(name);
        cluster.until(Instant::now() + limit)
    }
}
