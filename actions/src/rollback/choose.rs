//! Chooses the revision to put back.

use contract::annotations::RESTARTED_AT;
use serde_json::Value;

use super::Rollback;
use crate::k8s::object::annotation;
use crate::k8s::template::without_restarts;
use crate::workload::revisions::{Revision, current};
use crate::workload::rollout_target::RolloutTarget;

/// Returns the revision that the parameters name; by default the newest one whose template differs from the current one
/// by more than a restart. The error continues the object's name.
pub fn revision<'a>(rollback: &Rollback, revisions: &'a [Revision], workload: &Value) -> Result<&'a Revision, String> {
    let all =
        || match revisions.iter().map(|one| format!("{} ({})", one.number, one.name)).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "none (its revisionHistoryLimit may be 0)".to_owned(),
            all => all,
        };
    if let Some(name) = &rollback.to_revision_name {
        return revisions
            .iter()
            .find(|one| one.name == *name)
            .ok_or_else(|| format!("has no revision of the name in toRevisionName; it has {}", all()));
    }
    if let Some(number) = rollback.to_revision {
        return revisions
            .iter()
            .find(|one| one.number == number)
            .ok_or_else(|| format!("has no revision {number}; it has {}", all()));
    }
    // If no revision has the current template yet (the controller is behind), the newest revision is the previous one.
    let present = workload.pointer("/spec/template").map(without_restarts);
    let chosen = revisions.iter().find(|one| Some(without_restarts(&one.template)) != present);
    chosen.ok_or_else(|| match revisions {
        [] => format!("has no revision to go back to; it has {}", all()),
        [one] => format!(
            "has no revision to go back to, only the present one, {} ({}); its revisionHistoryLimit may be 0",
            one.number, one.name
        ),
        _ => format!(
            "has no revision to go back to whose template differs by more than a restart; it has {}; \
             name one by toRevision if that is meant",
            all()
        ),
    })
}

impl Rollback {
    /// Returns why nothing is put back where the present template is to be another revision's.
    pub(super) fn another_is_current(&self, target: &RolloutTarget) -> Option<String> {
        let expected = self.current_revision_name.as_ref()?;
        let found = target.current().map_or("none that is kept", |revision| revision.name.as_str());
        (found != expected).then(|| {
            format!(
                "{} has the template of revision {found}, not of {expected} (currentRevisionName): somebody has changed it since",
                target.live.object
            )
        })
    }
}

/// Returns the revisions between the current one and the default choice: they differ only by a restart.
pub fn passed_over(rollback: &Rollback, revisions: &[Revision], workload: &Value) -> Vec<String> {
    if rollback.to_revision.is_some() || rollback.to_revision_name.is_some() {
        return Vec::new();
    }
    let present = current(revisions, workload).map(|revision| revision.name.as_str());
    let chosen = revision(rollback, revisions, workload).ok().map(|revision| revision.name.as_str());
    let before = revisions.iter().take_while(|one| Some(one.name.as_str()) != chosen);
    before
        .filter(|one| chosen.is_some() && Some(one.name.as_str()) != present)
        .map(|one| {
            let at =
                annotation(&one.template, RESTARTED_AT).map(|at| format!(", restarted at {at}")).unwrap_or_default();
            format!("revision {} ({}{at})", one.number, one.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn template(restarted_at: &str) -> Value {
        json!({ "metadata": { "annotations": { RESTARTED_AT: restarted_at } }, "spec": { "containers": [] } })
    }

    #[rstest]
    #[case::none(0, "has no revision to go back to; it has none (its revisionHistoryLimit may be 0)")]
    #[case::the_present_one(
        1,
        "has no revision to go back to, only the present one, 1 (web-1); its revisionHistoryLimit may be 0"
    )]
    #[case::nothing_but_restarts(
        2,
        "has no revision to go back to whose template differs by more than a restart; it has 2 (web-2), 1 (web-1); \
         name one by toRevision if that is meant"
    )]
    fn says_why_there_is_none(#[case] revisions: i64, #[case] why: &str) {
        let one = |number: i64| Revision {
            name: format!("web-{number}"),
            number,
            pod_label: None,
            template: template(&number.to_string()),
            object: json!({}),
        };
        let revisions: Vec<Revision> = (1..=revisions).rev().map(one).collect();
        let rollback: Rollback = serde_json::from_value(json!({})).unwrap();
        let workload = json!({ "spec": { "template": template("9") } });
        assert_eq!(revision(&rollback, &revisions, &workload).unwrap_err(), why);
        assert!(passed_over(&rollback, &revisions, &workload).is_empty());
    }

    fn of(name: &str, number: i64, image: &str, restarted: Option<&str>) -> Revision {
        let template =
            json!({ "metadata": { "annotations": { RESTARTED_AT: restarted } }, "spec": { "image": image } });
        let template =
            if restarted.is_none() { json!({ "metadata": {}, "spec": { "image": image } }) } else { template };
        Revision { name: name.to_owned(), number, pod_label: None, template, object: json!({}) }
    }

    fn by(parameters: Value) -> Rollback {
        serde_json::from_value(parameters).unwrap()
    }

    /// What lies between the present one and the one that is chosen is named; whoever names one passes over none.
    #[test]
    fn names_what_it_passes_over() {
        let restarted = of("web-b", 2, "b", Some("2026-01-01T00:00:00Z"));
        let revisions = [of("web-c", 3, "b", Some("2026-02-02T00:00:00Z")), restarted, of("web-a", 1, "a", None)];
        let workload = json!({ "spec": { "template": revisions[0].template.clone() } });
        assert_eq!(revision(&by(json!({})), &revisions, &workload).unwrap().name, "web-a");
        let passed = passed_over(&by(json!({})), &revisions, &workload);
        assert_eq!(passed, ["revision 2 (web-b, restarted at 2026-01-01T00:00:00Z)"]);
        for named in [json!({ "toRevision": 1 }), json!({ "toRevisionName": "web-a" })] {
            assert!(passed_over(&by(named), &revisions, &workload).is_empty());
        }
        // With nothing to go back to, nothing is passed over.
        assert!(passed_over(&by(json!({})), &revisions[..2], &workload).is_empty());
    }
}
