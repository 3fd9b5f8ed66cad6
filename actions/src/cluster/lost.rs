//! Finds out the outcome of a patch whose answer is lost.
//!
//! Our mark in the object proves `applied`. After the time when the write can still land, `none` is proven if what the
//! patch tested is unchanged *and* nothing shows a change in between. (Somebody may have set our value back; a second
//! try would then apply it twice.) Otherwise the outcome stays `unknown`.

use json_patch::PatchOperation;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Cluster;
use super::outcome::Outcome;
use super::patch::{Patch, Proof};
use super::status::Failure;
use crate::k8s::ObjectRef;
use crate::k8s::object::{annotation, text, uid};

/// A patch without an answer.
pub(super) struct Lost<'a> {
    pub(super) object: &'a ObjectRef,
    /// The object that the patch was decided on.
    pub(super) before: &'a Value,
    pub(super) patch: &'a Patch,
    /// Field manager that the patch was sent with.
    pub(super) manager: &'a str,
    /// Time after which the patch cannot land any more.
    pub(super) horizon: Instant,
}

impl Patch {
    /// Returns whether the values that the patch tests are unchanged.
    fn tests_hold(&self, object: &Value) -> bool {
        self.operations.iter().all(|operation| match operation {
            PatchOperation::Test(test) => {
                let found = object.pointer(test.path.as_str());
                // Null stands for a zero value, which some forms of an object leave out and others write.
                let zero = |value: &Value| value.is_null() || *value == json!(0) || *value == json!(false);
                if test.value.is_null() { found.is_none_or(zero) } else { found == Some(&test.value) }
            }
            _ => true,
        })
    }

    fn proven_by(&self, object: &Value, manager: &str) -> bool {
        match &self.proof {
            Proof::Annotation { key, holds } => annotation(object, key).is_some_and(|value| value.contains(holds)),
            Proof::FieldManager => object
                .pointer("/metadata/managedFields")
                .and_then(Value::as_array)
                .is_some_and(|entries| entries.iter().any(|entry| text(entry, "/manager") == Some(manager))),
        }
    }

    /// Returns whether nothing shows that the object was changed, and changed back, since the patch was decided on: its
    /// generation has not moved, and nobody wrote the annotation that this patch writes too.
    fn untouched(&self, before: &Value, now: &Value) -> bool {
        let generation = now.pointer("/metadata/generation").and_then(Value::as_i64);
        let same_generation = self.rests_on_generation.is_none_or(|known| generation == Some(known));
        let same_annotation = match &self.proof {
            Proof::Annotation { key, .. } => annotation(before, key) == annotation(now, key),
            Proof::FieldManager => true,
        };
        same_generation && same_annotation
    }
}

impl Cluster {
    /// Finds out the outcome of a write whose answer is lost.
    pub(super) async fn look_after(&self, lost: &Lost<'_>, failure: Failure) -> Outcome {
        let Lost { object, before, patch, manager, horizon } = *lost;
        tracing::warn!(%failure, "the answer to the write is lost, looking at the object");
        // Our mark is a proof at once; its absence is a proof only when the server cannot apply the write any more.
        for wait in [false, true] {
            if wait {
                if horizon >= self.deadline {
                    return Outcome::Unknown(failure);
                }
                tokio::time::sleep_until(horizon).await;
            }
            let Ok(now) = self.get(object).await else { continue };
            if object.uid.as_deref().is_some_and(|known| known != uid(&now)) {
                return Outcome::Unknown(failure);
            }
            if patch.proven_by(&now, manager) {
                return Outcome::Applied(self.as_written(object, patch, now).await);
            }
            if wait && patch.untouched(before, &now) && self.rests_unchanged(object, patch, &now).await {
                return Outcome::NotApplied(failure);
            }
        }
        Outcome::Unknown(failure)
    }

    /// Returns the object in the form that the write returns: a sub-resource has another form than the object.
    async fn as_written(&self, object: &ObjectRef, patch: &Patch, now: Value) -> Value {
        if patch.subresource.is_none() {
            return now;
        }
        if object.resource.built_in().is_none() {
            // The object itself may keep its number elsewhere: nothing is known then, and the wait looks anyway.
            return self.get_sub(object, patch.subresource).await.unwrap_or_default();
        }
        json!({
            "metadata": { "name": object.name, "namespace": object.namespace, "uid": object.uid },
            "spec": { "replicas": now.pointer("/spec/replicas") },
        })
    }

    async fn rests_unchanged(&self, object: &ObjectRef, patch: &Patch, now: &Value) -> bool {
        if patch.subresource.is_some() && object.resource.built_in().is_none() {
            return self.get_sub(object, patch.subresource).await.is_ok_and(|now| patch.tests_hold(&now));
        }
        patch.tests_hold(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Commit;
    use crate::cluster::error::{Error, Result};
    use crate::cluster::fake::{Answer, cluster, not_found, object};
    use crate::cluster::patch::operations;
    use crate::k8s::Kind;
    use contract::result::Effect;
    use rstest::rstest;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn scale() -> Patch {
        let operations = operations(json!([
            { "op": "test", "path": "/spec/replicas", "value": 3 },
            { "op": "add", "path": "/spec/replicas", "value": 5 },
        ]));
        Patch { subresource: Some("scale"), operations, proof: Proof::FieldManager, rests_on_generation: Some(4) }
    }

    fn cordon() -> Patch {
        let operations = operations(json!([
            { "op": "test", "path": "/spec/unschedulable", "value": null },
            { "op": "add", "path": "/spec/unschedulable", "value": true },
        ]));
        let proof = Proof::Annotation { key: "cordon", holds: "run-1".to_owned() };
        Patch { subresource: None, operations, proof, rests_on_generation: None }
    }

    fn deployment(generation: i64, replicas: i64) -> Value {
        json!({ "metadata": { "name": "web", "uid": "u", "generation": generation }, "spec": { "replicas": replicas } })
    }

    fn node(mark: &str) -> Value {
        json!({ "metadata": { "name": "web", "uid": "u", "annotations": { "cordon": mark } }, "spec": {} })
    }

    /// Returns the error and the effect of a patch that gets this answer, where the object is then like this.
    async fn patched(
        kind: Kind,
        patch: Patch,
        before: Value,
        answer: impl Fn() -> Answer + Send + 'static,
        then: Value,
    ) -> (Result<Value>, Effect, u32) {
        let sent = Arc::new(AtomicU32::new(0));
        let count = sent.clone();
        let (cluster, _) = cluster(move |asked, _| {
            if asked.starts_with("PATCH") {
                count.fetch_add(1, Ordering::Relaxed);
                return answer();
            }
            Answer::Json(200, then.clone())
        });
        let result = cluster.patch(&object(kind), &before, &patch, Commit::Execute).await;
        (result, cluster.ledger().effect(), sent.load(Ordering::Relaxed))
    }

    #[rstest]
    #[case::nothing_happened(deployment(4, 3), Effect::None, 3)]
    #[case::set_and_set_back(deployment(6, 3), Effect::Unknown, 1)]
    #[case::another_number(deployment(5, 7), Effect::Unknown, 1)]
    #[tokio::test(start_paused = true)]
    async fn the_old_number_alone_proves_nothing(#[case] then: Value, #[case] effect: Effect, #[case] sent: u32) {
        let (result, known, tries) = patched(Kind::Deployment, scale(), deployment(4, 3), || Answer::Lost, then).await;
        assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
        assert_eq!((known, tries), (effect, sent));
    }

    #[rstest]
    #[case::nothing_happened("before", Effect::None)]
    #[case::turned_and_turned_back("another", Effect::Unknown)]
    #[tokio::test(start_paused = true)]
    async fn a_node_has_an_annotation_in_place_of_a_generation(#[case] mark: &str, #[case] effect: Effect) {
        let (_, known, _) = patched(Kind::Node, cordon(), node("before"), || Answer::Lost, node(mark)).await;
        assert_eq!(known, effect);
    }

    #[tokio::test(start_paused = true)]
    async fn its_mark_proves_it() {
        let applied = || {
            let mut node = node("by run-1");
            node["spec"]["unschedulable"] = json!(true);
            node
        };
        let (result, effect, sent) =
            patched(Kind::Node, cordon(), node("before"), || Answer::Text(403, "<html>"), applied()).await;
        assert_eq!((result.unwrap(), effect, sent), (applied(), Effect::Applied, 1));
    }

    /// Our write, of which somebody has changed what it wrote since, is not what was asked for.
    #[tokio::test(start_paused = true)]
    async fn what_somebody_wrote_since_is_not_ours() {
        let then = || node("by run-1");
        let (result, effect, sent) = patched(Kind::Node, cordon(), node("before"), || Answer::Lost, then()).await;
        let Err(Error::NotVerified(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("/spec/unschedulable is not there, not true"), "{why}");
        assert_eq!((effect, sent), (Effect::Applied, 1));
    }

    /// Returns whether the object is read again, instead of trusting the answer.
    #[rstest]
    #[case::html_403(|| Answer::Text(403, "<html>Forbidden</html>"), true)]
    #[case::html_404(|| Answer::Text(404, "404 page not found"), true)]
    #[case::html_413(|| Answer::Text(413, "<html>"), true)]
    #[case::html_success(|| Answer::Text(200, "<html>Log in</html>"), true)]
    #[case::server_error(|| Answer::Json(504, json!({ "kind": "Status" })), true)]
    #[case::gone(|| not_found("deployments", "apps", "web"), false)]
    #[case::another_is_gone(|| not_found("namespaces", "", "shop"), false)]
    #[case::refused(|| Answer::Json(422, json!({ "kind": "Status", "message": "no" })), false)]
    #[tokio::test(start_paused = true)]
    async fn what_is_no_answer_of_the_api_server_is_a_lost_one(#[case] answer: fn() -> Answer, #[case] lost: bool) {
        let begun = Instant::now();
        // The object as if the patch had been passed on, and somebody had set the value back.
        let (result, effect, sent) =
            patched(Kind::Deployment, scale(), deployment(4, 3), answer, deployment(6, 3)).await;
        assert_eq!(effect, if lost { Effect::Unknown } else { Effect::None }, "{result:?}");
        assert_eq!((begun.elapsed().as_secs() > 9, sent), (lost, 1));
        assert_eq!(matches!(result, Err(Error::Unavailable { .. })), lost, "{result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_404_to_a_write_says() {
        let error = |answer: fn() -> Answer| async move {
            patched(Kind::Deployment, scale(), deployment(4, 3), answer, deployment(4, 3)).await.0.unwrap_err()
        };
        let gone = error(|| not_found("deployments", "apps", "web")).await;
        assert!(matches!(&gone, Error::TargetNotFound(_)), "{gone:?}");
        let other = error(|| not_found("namespaces", "", "shop")).await;
        assert!(matches!(&other, Error::Refused(_)), "{other:?}");
        let between = error(|| Answer::Text(404, "<html>no way</html>")).await.full_message();
        assert!(between.contains("something between here and the API server answered 404"), "{between}");
        assert!(between.contains("no way"), "{between}");
    }
}
