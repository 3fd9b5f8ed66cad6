//! The phases that evaluate Rego: `policy` and `preconditions` before the change, `postconditions` after it.

use actions::action::Action;
use actions::cluster::error::{Error, Result};
use contract::result::PhaseName;

use super::Running;
use super::prepare::Prepared;
use super::record::PHASE_LIMIT;
use crate::conditions::documents::ConditionTarget;
use crate::conditions::evaluate;
use crate::conditions::parse::Conditions;

impl<A: Action> Running<A> {
    /// Evaluates the policy and the preconditions on the target as found: `Refused` when one of them objects.
    pub(super) async fn before(&self, target: &A::Target) -> Result<()> {
        let Prepared { conditions, named, record, .. } = &self.prepared;
        let about = ConditionTarget::found(target, named);
        let input = self.prepared.input.about(&about);
        check_fit(conditions, &about)?;
        if let Some(policy) = &conditions.policy {
            let cluster = self.begin(PhaseName::Policy, PHASE_LIMIT);
            let denials = evaluate::denials(policy, &input, &about.value, cluster.remaining()).await?;
            if !denials.is_empty() {
                return Err(Error::Refused(format!(
                    "the policy denies it: {}; nothing was changed",
                    denials.join("; ")
                )));
            }
        }
        if conditions.before.is_empty() {
            return Ok(());
        }
        let cluster = self.begin(PhaseName::Preconditions, PHASE_LIMIT);
        let results = evaluate::before(conditions, &input, &about, &cluster).await?;
        record.lock().before.clone_from(&results);
        let progress = &self.prepared.context.progress;
        match evaluate::objection(&conditions.before, &results, "precondition", progress) {
            Some(why) => Err(Error::Refused(format!("{why}; nothing was changed"))),
            None => Ok(()),
        }
    }

    /// Evaluates the postconditions until they hold: `NotVerified` when a required one does not.
    pub(super) async fn after(&self, target: &A::Target) -> Result<()> {
        let Prepared { conditions, named, record, context, .. } = &self.prepared;
        if conditions.after.is_empty() {
            return Ok(());
        }
        let longest = conditions.after.iter().map(|one| one.condition.timeout.get()).max().unwrap_or_default();
        // Each has its own timeout; the evaluation at its end takes time too.
        let cluster = self.begin(PhaseName::Postconditions, longest + PHASE_LIMIT);
        let about = ConditionTarget::found(target, named);
        let input = self.prepared.input.about(&about);
        let progress = &context.progress;
        let keep = |results| record.lock().after = results;
        let required = conditions.after.iter().any(|one| one.condition.required);
        match evaluate::after(conditions, &input, about, &cluster, progress, keep).await {
            Ok(results) => match evaluate::objection(&conditions.after, &results, "postcondition", progress) {
                Some(why) => Err(Error::NotVerified(why)),
                None => Ok(()),
            },
            // The change was made: a failed evaluation is neither a refusal nor a missing permission of the action.
            Err(error) if required => {
                Err(Error::NotVerified(format!("the postconditions could not be evaluated: {}", error.full_message())))
            }
            Err(error) => {
                progress.warn(format!("the postconditions could not be evaluated: {}", error.full_message()));
                Ok(())
            }
        }
    }
}

/// Fails unless all required conditions fit this target. Also the postconditions, so that a condition that can never
/// hold is reported before the change.
fn check_fit(conditions: &Conditions, about: &ConditionTarget) -> Result<()> {
    let all = conditions.before.iter().chain(&conditions.after).filter(|one| one.condition.required);
    let misfits = all.clone().filter_map(|one| one.misfit(about.target_kind()));
    let absent = all.flat_map(|one| one.related.iter()).filter_map(|one| one.unfit(about));
    let mut problems: Vec<String> = misfits.chain(absent).collect();
    problems.dedup();
    if problems.is_empty() { Ok(()) } else { Err(Error::InvalidRequest(problems.join("; "))) }
}
