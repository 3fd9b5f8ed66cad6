//! Whether a mark is believed.
//!
//! Whoever may patch a workload can write a mark into its annotations, of any id and request; its managed fields prove
//! nothing, because a patch chooses those too. What the workload's *controller* has written is on its revisions, which only
//! the controller may write: a mark is believed when they show that what it says was carried out. It then says at worst of
//! something real that another execution did it.

use contract::annotations::RESTARTED_AT;
use jiff::{Timestamp, Unit};
use serde_json::Value;

use super::revisions::Revision;
use crate::cluster::executions::Execution;
use crate::k8s::Kind;
use crate::k8s::object::{annotation, text};
use crate::k8s::template::template_hash;

/// Annotation in which a Deployment's controller keeps the numbers that a ReplicaSet had before it came back.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// What a mark says was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// The pods were restarted.
    Restart,
    /// An earlier revision was put back.
    Rollback,
}

/// What the revisions say of a mark. The reasons follow "it cannot be known whether that is so: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belief {
    /// The controller has carried it out.
    Proven,
    /// The controller has not, although it has seen all that was written since: it never was, or nothing came of it.
    Disproved,
    /// Neither can be shown.
    Unknown(String),
}

/// Returns what an execution says that it did; releases up to 0.1 kept both verbs in one annotation.
pub fn deed(mark: &Execution) -> Deed {
    let restarted = [&mark.goal, &mark.previous].into_iter().any(|one| one.get("restartedAt").is_some());
    if restarted { Deed::Restart } else { Deed::Rollback }
}

/// Returns the time that a restart wrote. An execution of release 0.1 has no goal: its time gives the value.
pub fn written_by(mark: &Execution) -> Option<String> {
    text(&mark.goal, "/restartedAt").map(str::to_owned).or_else(|| {
        let time = mark.time.parse().ok()?;
        Some(restarted_at(time, text(&mark.previous, "/restartedAt")))
    })
}

/// Returns the time in seconds, like kubectl; more exact if that is the old value, which would start no rollout.
pub fn restarted_at(now: Timestamp, before: Option<&str>) -> String {
    let seconds = now.round(Unit::Second).unwrap_or(now).to_string();
    if before == Some(&seconds) { format!("{now:.9}") } else { seconds }
}

/// Returns the name of the revision that a rollback put back.
pub fn put_back_by(mark: &Execution) -> &str {
    text(&mark.goal, "/revision").or_else(|| text(&mark.previous, "/to")).unwrap_or_default()
}

/// Returns whether a mark is believed. The controller must have observed the workload's generation before the revisions
/// were read: what it has not seen yet it cannot have written down.
pub fn belief(kind: Kind, workload: &Value, revisions: &[Revision], mark: &Execution, deed: Deed) -> Belief {
    match deed {
        Deed::Restart => {
            let written = written_by(mark);
            let has =
                |one: &Revision| written.is_some() && annotation(&one.template, RESTARTED_AT) == written.as_deref();
            if revisions.iter().any(has) { Belief::Proven } else { without_proof(workload, revisions, mark) }
        }
        Deed::Rollback => put_back(kind, workload, revisions, mark),
    }
}

fn put_back(kind: Kind, workload: &Value, revisions: &[Revision], mark: &Execution) -> Belief {
    let name = put_back_by(mark);
    if name.is_empty() {
        return without_proof(workload, revisions, mark);
    }
    let Some(to) = revisions.iter().find(|one| one.name == name) else {
        return Belief::Unknown(format!("its revision {name} is gone by now"));
    };
    // A goal that is not that revision's template was never written.
    let fits = text(&mark.goal, "/template").is_none_or(|hash| hash == template_hash(&to.template));
    let number = mark.goal.get("number").and_then(Value::as_i64);
    let came_back = if kind == Kind::Deployment { in_history(to, number) } else { was_raised(to, number, revisions) };
    if fits && came_back {
        return Belief::Proven;
    }
    // One that was the newest stays the newest, and shows nothing.
    if text(&mark.previous, "/revision").is_none() {
        return Belief::Unknown(format!("its controller had made no revision of the template before {name}"));
    }
    if fits && kind != Kind::Deployment && may_have_had(to, number, revisions) {
        return Belief::Unknown(format!("nothing shows whether its revision {name} came back or was made later"));
    }
    without_proof(workload, revisions, mark)
}

/// Returns whether a ReplicaSet came back from this number; from any, for executions of release 0.1, which kept none.
fn in_history(to: &Revision, number: Option<i64>) -> bool {
    let mut before = annotation(&to.object, HISTORY).unwrap_or_default().split(',').filter_map(|one| one.parse().ok());
    match number {
        Some(number) => before.any(|one: i64| one == number),
        None => before.next().is_some(),
    }
}

/// Returns whether a ControllerRevision came back: its number is above that of one that was made after it.
fn was_raised(to: &Revision, number: Option<i64>, revisions: &[Revision]) -> bool {
    let later = |one: &Revision| one.name != to.name && one.number < to.number && made(one) >= made(to);
    may_have_had(to, number, revisions) && revisions.iter().any(later)
}

/// Returns whether a revision may have had this number (without one, any) before: no number is given twice.
fn may_have_had(to: &Revision, number: Option<i64>, revisions: &[Revision]) -> bool {
    let free = |number: i64| revisions.iter().all(|one| one.number != number);
    match number {
        Some(number) => (1..to.number).contains(&number) && free(number),
        None => (1..to.number).any(free),
    }
}

/// Returns what is to be said of a mark of which the revisions show nothing. Absence alone proves nothing: the revision may
/// have been cleaned up since. It was not, if none was made since, for the controller cleans up when it makes one.
fn without_proof(workload: &Value, revisions: &[Revision], mark: &Execution) -> Belief {
    if workload.pointer("/spec/revisionHistoryLimit").and_then(Value::as_i64) == Some(0) {
        return Belief::Unknown("its revisionHistoryLimit is 0, so that old revisions are gone".to_owned());
    }
    if revisions.is_empty() {
        return Belief::Unknown("there is no revision of it".to_owned());
    }
    // Times of creation have whole seconds.
    let since = mark.time.parse::<Timestamp>().map(Timestamp::as_second);
    let Ok(since) = since else { return Belief::Unknown(format!("its time {:?} is none", mark.time)) };
    let newer = revisions.iter().find(|one| made(one).is_none_or(|made| made.as_second() >= since));
    match newer {
        Some(newer) => Belief::Unknown(format!("its revision {} was made since, and others may be gone", newer.name)),
        None => Belief::Disproved,
    }
}

fn made(revision: &Revision) -> Option<Timestamp> {
    text(&revision.object, "/metadata/creationTimestamp").and_then(|time| time.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn template(image: &str) -> Value {
        json!({ "spec": { "containers": [{ "name": "app", "image": image }] } })
    }

    /// A revision that was made at this second of the hour, and what numbers it had before.
    fn revision(name: &str, number: i64, made: u32, history: &str) -> Revision {
        let object = json!({ "metadata": {
            "creationTimestamp": format!("2026-01-01T00:00:{made:02}Z"), "annotations": { HISTORY: history },
        } });
        Revision { name: name.to_owned(), number, pod_label: None, template: template(name), object }
    }

    fn mark(time: &str, goal: Value, previous: Value) -> Execution {
        let text = str::to_owned;
        Execution { id: text("exec-1"), run: text("r"), request: text("h"), time: text(time), goal, previous }
    }

    /// Back to `a`, which had this number, at this time.
    fn to_a(number: Option<i64>, time: &str) -> Execution {
        match number {
            Some(number) => {
                let goal = json!({ "revision": "a", "number": number, "template": template_hash(&template("a")) });
                mark(time, goal, json!({ "revision": "b" }))
            }
            None => mark(time, Value::Null, json!({ "revision": "b", "to": "a" })),
        }
    }

    fn shown(belief: Belief) -> String {
        match belief {
            Belief::Unknown(why) => why,
            other => format!("{other:?}"),
        }
    }

    const LATER: &str = "2026-01-01T00:00:30Z";

    #[rstest]
    #[case::came_back(Some(1), LATER, &[("a", 3, 1, "1"), ("b", 2, 9, "")], "Proven")]
    #[case::came_back_twice(Some(3), LATER, &[("a", 5, 1, "1,3"), ("b", 4, 9, "2")], "Proven")]
    #[case::of_0_1(None, LATER, &[("a", 3, 1, "1"), ("b", 2, 9, "")], "Proven")]
    #[case::never_came_back(Some(1), LATER, &[("b", 2, 9, ""), ("a", 1, 1, "")], "Disproved")]
    #[case::of_0_1_never_came_back(None, LATER, &[("b", 2, 9, ""), ("a", 1, 1, "")], "Disproved")]
    #[case::from_another_number(Some(2), LATER, &[("a", 3, 1, "1"), ("b", 2, 9, "")], "Disproved")]
    #[case::gone(Some(1), LATER, &[("c", 4, 9, "")], "its revision a is gone by now")]
    #[case::none_at_all(Some(1), LATER, &[], "its revision a is gone by now")]
    #[case::one_was_made_since(Some(1), "2026-01-01T00:00:09.5Z", &[("b", 2, 9, ""), ("a", 1, 1, "")], "its revision b was made since")]
    #[case::no_time(Some(1), "soon", &[("b", 2, 9, ""), ("a", 1, 1, "")], "is none")]
    fn a_deployments(
        #[case] number: Option<i64>,
        #[case] time: &str,
        #[case] revisions: &[(&str, i64, u32, &str)],
        #[case] says: &str,
    ) {
        let revisions: Vec<_> = revisions.iter().map(|one| revision(one.0, one.1, one.2, one.3)).collect();
        let found = belief(Kind::Deployment, &json!({}), &revisions, &to_a(number, time), Deed::Rollback);
        assert!(shown(found.clone()).contains(says), "{found:?}");
    }

    /// A ControllerRevision keeps no history: that it came back is shown by one that was made later and has a lower number.
    #[rstest]
    #[case::came_back(Some(1), &[("a", 3, 1), ("b", 2, 9)], "Proven")]
    #[case::in_the_same_second(Some(1), &[("a", 3, 1), ("b", 2, 1)], "Proven")]
    #[case::of_0_1(None, &[("a", 3, 1), ("b", 2, 9)], "Proven")]
    #[case::never_came_back(Some(1), &[("b", 2, 9), ("a", 1, 1)], "Disproved")]
    #[case::the_newest_from_a_number_that_another_has(Some(1), &[("a", 2, 9), ("b", 1, 1)], "Disproved")]
    #[case::from_no_number(Some(0), &[("a", 3, 1), ("b", 2, 9)], "Disproved")]
    #[case::made_last(Some(2), &[("a", 4, 9), ("b", 3, 1)], "came back or was made later")]
    #[case::of_0_1_never_came_back(None, &[("b", 2, 9), ("a", 1, 1)], "Disproved")]
    #[case::of_0_1_made_last(None, &[("a", 4, 9), ("b", 3, 1)], "came back or was made later")]
    fn a_stateful_sets(#[case] number: Option<i64>, #[case] revisions: &[(&str, i64, u32)], #[case] says: &str) {
        let revisions: Vec<_> = revisions.iter().map(|one| revision(one.0, one.1, one.2, "")).collect();
        let found = belief(Kind::StatefulSet, &json!({}), &revisions, &to_a(number, LATER), Deed::Rollback);
        assert!(shown(found.clone()).contains(says), "{found:?}");
    }

    /// A mark whose goal is the present template, and whose revision is one that did come back.
    #[test]
    fn a_goal_that_is_not_its_revisions_template_is_no_proof() {
        let revisions = [revision("c", 4, 19, ""), revision("a", 3, 1, "1"), revision("b", 2, 9, "")];
        let mut forged = to_a(Some(1), LATER);
        forged.goal["template"] = json!(template_hash(&template("c")));
        assert_eq!(belief(Kind::Deployment, &json!({}), &revisions, &forged, Deed::Rollback), Belief::Disproved);
    }

    /// What was the newest before stays the newest: its controller has nothing to write.
    #[test]
    fn one_that_never_was_left_shows_nothing() {
        let revisions = [revision("a", 2, 9, ""), revision("b", 1, 1, "")];
        let mut mark = to_a(Some(2), LATER);
        mark.previous = json!({ "revision": null });
        for kind in [Kind::Deployment, Kind::DaemonSet] {
            let found = shown(belief(kind, &json!({}), &revisions, &mark, Deed::Rollback));
            assert!(found.contains("had made no revision of the template before a"), "{found}");
        }
    }

    #[rstest]
    #[case::as_written(json!({ "restartedAt": LATER }), LATER, json!({}), "Proven")]
    #[case::of_0_1(Value::Null, LATER, json!({}), "Proven")]
    #[case::another(json!({ "restartedAt": "2026-01-01T00:00:31Z" }), "2026-01-01T00:00:31Z", json!({}), "Disproved")]
    #[case::cleaned_up(json!({ "restartedAt": "x" }), LATER, json!({ "spec": { "revisionHistoryLimit": 0 } }), "revisionHistoryLimit is 0")]
    #[case::one_was_made_since(json!({ "restartedAt": "x" }), "2026-01-01T00:00:02Z", json!({}), "its revision a was made since")]
    fn a_restart(#[case] goal: Value, #[case] time: &str, #[case] workload: Value, #[case] says: &str) {
        let mut restarted = revision("a", 2, 29, "");
        restarted.template["metadata"] = json!({ "annotations": { RESTARTED_AT: LATER } });
        let mark = mark(time, goal, json!({ "restartedAt": null }));
        assert_eq!(deed(&mark), Deed::Restart);
        let found = belief(Kind::Deployment, &workload, &[restarted], &mark, Deed::Restart);
        assert!(shown(found.clone()).contains(says), "{found:?}");
    }

    #[test]
    fn without_revisions_nothing_is_known() {
        let mark = mark(LATER, json!({ "restartedAt": LATER }), json!({ "restartedAt": null }));
        let found = shown(belief(Kind::Deployment, &json!({}), &[], &mark, Deed::Restart));
        assert_eq!(found, "there is no revision of it");
    }

    #[test]
    fn knows_what_was_done() {
        assert_eq!(deed(&to_a(Some(1), LATER)), Deed::Rollback);
        assert_eq!(deed(&to_a(None, LATER)), Deed::Rollback);
        assert_eq!(put_back_by(&to_a(Some(1), LATER)), "a");
        assert_eq!(put_back_by(&to_a(None, LATER)), "a");
        assert_eq!(deed(&mark(LATER, json!({ "restartedAt": "x" }), json!({}))), Deed::Restart);
    }

    #[test]
    fn the_same_second_becomes_another_value() {
        let now: Timestamp = "2026-11-23T10:00:00.25Z".parse().unwrap();
        assert_eq!(restarted_at(now, None), "2026-11-23T10:00:00Z");
        assert_eq!(restarted_at(now, Some("2026-11-23T10:00:00Z")), "2026-11-23T10:00:00.250000000Z");
    }
}
