//! Asks the API server about the permissions of this ServiceAccount.

use std::collections::BTreeSet;

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceRule, SubjectAccessReviewStatus, SubjectRulesReviewStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::retry::FEW_TRIES;
use super::status::{Failure, Status};
use super::{Cluster, build};
use crate::cluster::error::{Error, Result};
use crate::k8s::Permission;
use crate::k8s::names::{Name, Namespace};

/// Answer of an access review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// All permissions are granted.
    Granted,
    /// All permissions that are missing.
    Denied(Vec<Permission>),
    /// The API server would not say, for this reason: neither granted nor denied.
    CouldNotAsk(String),
}

/// The rules review of one namespace. Kept, because a target that leads to its owner needs it twice.
#[derive(Debug, Default)]
pub struct KnownRules(Option<Vec<ResourceRule>>);

#[derive(Deserialize)]
struct Review<T> {
    status: Option<T>,
}

impl Cluster {
    /// Returns the permissions that are missing. One rules review answers for all permissions in a namespace. Single
    /// access reviews answer the rest, and all cluster-scoped permissions (a rules review of a namespace would count a
    /// Role's rules for those).
    pub async fn missing(
        &self,
        permissions: &BTreeSet<Permission>,
        namespace: Option<&Namespace>,
        name: Option<&Name>,
        known: &mut KnownRules,
    ) -> Result<Access> {
        loop {
            let sent = Instant::now();
            match self.ask_for(permissions, namespace, name, known).await? {
                Access::Granted => {
                    self.settle(true);
                    return Ok(Access::Granted);
                }
                Access::Denied(_) if self.starts(sent).await => {}
                other => return Ok(other),
            }
            known.0 = None;
        }
    }

    /// Returns whether a denial may only mean that the API server is starting, so that a retry is worthwhile: until its
    /// authorizer has loaded the RBAC roles, it denies what is granted. A denial is final if the request was sent after
    /// the API server said that it is ready (or granted all permissions), and nothing has failed since. Waits while the
    /// server starts.
    pub(super) async fn starts(&self, sent: Instant) -> bool {
        /// 0.2 to 5 s apart, about 20 s in all: longer than from an API server's first answer until all roles are
        /// loaded.
        const WHILE_IT_STARTS: u32 = 8;
        /// Until its roles are loaded, the server denies this too. If this account may never ask, the next denial is
        /// final.
        const WHERE_IT_DOES_NOT_SAY: u32 = 3;
        if self.was_settled(sent) {
            return false;
        }
        for attempt in 0.. {
            let Ok(request) = build(Method::GET, "/readyz", "", Vec::new()) else { return false };
            let failure = match self.call(request, self.read_limit(), attempt > 0).await {
                Ok(_) => break,
                Err(Failure::Status(status)) if status.code < 500 && attempt >= WHERE_IT_DOES_NOT_SAY => break,
                Err(failure) => failure,
            };
            if attempt >= WHILE_IT_STARTS || !self.pause(attempt, &failure).await {
                return false;
            }
        }
        self.settle(true);
        true
    }

    async fn ask_for(
        &self,
        permissions: &BTreeSet<Permission>,
        namespace: Option<&Namespace>,
        name: Option<&Name>,
        known: &mut KnownRules,
    ) -> Result<Access> {
        let rules = match namespace {
            Some(namespace) => self.rules(namespace, known).await?,
            None => &[],
        };
        let open = permissions.iter().filter(|one| !(one.namespaced && one.granted_by(rules, name)));
        let mut denied = Vec::new();
        for permission in open {
            match self.allowed(permission, namespace, name).await {
                Ok(true) => {}
                Ok(false) => denied.push(permission.clone()),
                Err(Failure::Status(status)) if !status.transient() && status.code != 401 => {
                    return Ok(Access::CouldNotAsk(status.to_string()));
                }
                Err(failure @ Failure::Between(_)) => return Ok(Access::CouldNotAsk(failure.to_string())),
                Err(failure) => return Err(self.review_error(failure)),
            }
        }
        Ok(if denied.is_empty() { Access::Granted } else { Access::Denied(denied) })
    }

    async fn rules<'a>(&self, namespace: &Namespace, known: &'a mut KnownRules) -> Result<&'a [ResourceRule]> {
        if known.0.is_none() {
            let body = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                "spec": { "namespace": namespace },
            });
            let rules = match self.ask::<SubjectRulesReviewStatus>("selfsubjectrulesreviews", &body).await {
                Ok(status) => status.resource_rules,
                // Asking is not allowed, or the authorizer cannot list its rules: single reviews answer.
                Err(Failure::Status(status)) if !status.transient() && status.code != 401 => Vec::new(),
                Err(Failure::Between(_)) => Vec::new(),
                Err(failure) => return Err(self.review_error(failure)),
            };
            known.0 = Some(rules);
        }
        Ok(known.0.as_deref().unwrap_or_default())
    }

    /// Returns whether one permission is granted.
    pub(super) async fn allowed(
        &self,
        permission: &Permission,
        namespace: Option<&Namespace>,
        name: Option<&Name>,
    ) -> Result<bool, Failure> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": permission.attributes(namespace, name) },
        });
        Ok(self.ask::<SubjectAccessReviewStatus>("selfsubjectaccessreviews", &body).await?.allowed)
    }

    /// Sends a review: a POST that changes nothing, and so is retried like a read.
    async fn ask<T: serde::de::DeserializeOwned>(&self, review: &str, body: &Value) -> Result<T, Failure> {
        let uri = format!("/apis/authorization.k8s.io/v1/{review}");
        let mut attempt = 0;
        loop {
            let sent = Instant::now();
            let request = build(Method::POST, &uri, "application/json", body.to_string().into_bytes());
            let request = request.map_err(|error| Failure::Network(error.into()))?;
            let failure = match self.call(request, self.read_limit(), attempt > 0).await {
                Ok(body) => match serde_json::from_slice::<Review<T>>(&body) {
                    Ok(review) => {
                        return review.status.ok_or_else(|| Failure::Network("the review has no status".into()));
                    }
                    Err(error) => Failure::Network(format!("the answer is no review: {error}").into()),
                },
                Err(failure) => failure,
            };
            // A gateway that blocks reviews will go on blocking them; the run can do without.
            let barred = matches!(failure, Failure::Between(_)) && attempt + 1 >= FEW_TRIES;
            if barred || !self.goes_on(&failure, sent, attempt).await {
                return Err(failure);
            }
            attempt += 1;
        }
    }

    fn review_error(&self, failure: Failure) -> Error {
        match failure {
            Failure::Status(status) if status.code == 401 => unauthenticated(&status),
            failure => self.unavailable("ask which permissions there are", failure),
        }
    }

    /// Returns the error for a 401 or 403: a missing permission if an access review says so, else admission or quota.
    pub(super) async fn denied(
        &self,
        what: &str,
        status: Status,
        permission: &Permission,
        namespace: Option<&Namespace>,
        name: Option<&Name>,
    ) -> Error {
        if status.code == 401 {
            return unauthenticated(&status);
        }
        match self.allowed(permission, namespace, name).await {
            Ok(true) => Error::Refused(format!("failed to {what}: {}", status.message)),
            Ok(false) => missing_permissions(vec![permission.clone()], namespace),
            Err(why) => Error::Forbidden {
                message: format!(
                    "failed to {what}: {}; whether a permission is missing could not be asked ({why})",
                    status.message
                ),
                missing: vec![],
            },
        }
    }
}

fn unauthenticated(status: &Status) -> Error {
    Error::Forbidden {
        message: format!(
            "{status}; the credentials are not valid (any more): check the ServiceAccount's token or the kubeconfig's user"
        ),
        missing: vec![],
    }
}

/// Returns the error that names every missing permission.
pub fn missing_permissions(missing: Vec<Permission>, namespace: Option<&Namespace>) -> Error {
    let list = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let place = namespace.map_or("in the cluster".to_owned(), |namespace| format!("in namespace {namespace}"));
    Error::Forbidden {
        message: format!("missing permissions {place}: {list}; `action-runner rbac` prints the Role that grants them"),
        missing,
    }
}
