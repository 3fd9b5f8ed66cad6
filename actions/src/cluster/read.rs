//! Reads, which are retried until they succeed or the deadline comes, because a second read does no harm.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::time::Instant;

use super::status::{Failure, Scope, Status};
use super::{Cluster, build, with_query};
use crate::cluster::error::{Error, Result};
use crate::k8s::names::{Name, Namespace};
use crate::k8s::{ObjectRef, Permission, Resource};

/// Number of objects in a page of a list, and so the most of a large list that one answer holds.
const PAGE: &str = "100";

/// The most starts of a list whose pages expire before its end: a server slower than its own history is ill.
const BEGINNINGS: u32 = 3;

/// A set of objects of one kind.
#[derive(Debug, Clone)]
pub struct Query {
    /// Kind of the objects.
    pub resource: Resource,
    /// Namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<Namespace>,
    /// A label selector; empty selects everything.
    pub labels: String,
    /// Name of the only object: RBAC's `resourceNames` then works for list and watch too.
    pub name: Option<Name>,
    /// Another field selector: the field (such as `spec.nodeName`) and its value.
    pub field: Option<(&'static str, String)>,
}

impl Query {
    /// Selects all objects of a kind beside another object (in its namespace), by labels.
    pub fn beside(object: &ObjectRef, resource: Resource, labels: impl Into<String>) -> Self {
        Self { resource, namespace: object.namespace.clone(), labels: labels.into(), name: None, field: None }
    }

    /// Selects just this object.
    pub fn only(object: &ObjectRef) -> Self {
        let (resource, namespace) = (object.resource.clone(), object.namespace.clone());
        Self { resource, namespace, labels: String::new(), name: Some(object.name.clone()), field: None }
    }

    pub(super) fn path(&self) -> String {
        self.resource.collection_path(self.namespace.as_ref())
    }

    /// Returns the object, if the query is for one.
    pub(super) fn object(&self) -> Option<ObjectRef> {
        let (resource, namespace) = (self.resource.clone(), self.namespace.clone());
        Some(ObjectRef { resource, namespace, name: self.name.clone()?, uid: None })
    }

    pub(super) fn fields(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("metadata.name={name}"));
        let other = self.field.as_ref().map(|(field, value)| format!("{field}={value}"));
        name.into_iter().chain(other).collect::<Vec<_>>().join(",")
    }

    pub(super) fn permission(&self, verb: &'static str) -> Permission {
        Permission { names_target: self.name.is_some(), ..Permission::of(verb, &self.resource) }
    }
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    // `null` when empty: Go writes an empty list like that.
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    r#continue: String,
}

impl Cluster {
    /// Reads one object.
    pub async fn get(&self, object: &ObjectRef) -> Result<Value> {
        self.get_sub(object, None).await
    }

    /// Reads one object, or one of its sub-resources. A missing sub-resource is an invalid request: the API server
    /// answers that the object itself is not found, so that a second request checks whether the object exists.
    pub async fn get_sub(&self, object: &ObjectRef, subresource: Option<&'static str>) -> Result<Value> {
        let what = format!("get {object}");
        let failure = match self.read(&object.path(subresource), Scope::Object(object)).await {
            Ok(body) => return parse(&body, &what),
            Err(failure) => failure,
        };
        if matches!(&failure, Failure::Status(status) if status.says_gone(object)) {
            return Err(match subresource {
                Some(subresource) if self.exists(object).await? => Error::InvalidRequest(format!(
                    "{object} has no /{subresource} sub-resource; its kind cannot be {}",
                    if subresource == "scale" { "scaled" } else { "used so" }
                )),
                _ => Error::TargetNotFound(format!("{object} does not exist; check TARGET_NAME and TARGET_NAMESPACE")),
            });
        }
        let permission = Permission::on_target("get", &object.resource);
        let permission = Permission { subresource, ..permission };
        Err(self.read_error(&what, failure, &permission, object.namespace.as_ref(), Some(&object.name)).await)
    }

    /// Returns whether an object of this name exists. Reads only its metadata, so that a Secret's content is not sent.
    pub async fn exists(&self, object: &ObjectRef) -> Result<bool> {
        const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        match self.read_as(&object.path(None), METADATA, Scope::Object(object)).await {
            Ok(_) => Ok(true),
            Err(Failure::Status(status)) if status.says_gone(object) => Ok(false),
            Err(failure) => {
                let permission = Permission::on_target("get", &object.resource);
                let what = format!("look for {object}");
                Err(self.read_error(&what, failure, &permission, object.namespace.as_ref(), Some(&object.name)).await)
            }
        }
    }

    /// Lists every object of a query, page by page, with the resourceVersion from which a watch continues.
    pub async fn list<T: DeserializeOwned>(&self, query: &Query) -> Result<(Vec<T>, String)> {
        let what = format!("list {}", query.resource.plural());
        let (mut all, mut token) = (Vec::new(), String::new());
        let mut beginnings = 1;
        loop {
            let pairs = [
                ("limit", PAGE),
                ("labelSelector", &query.labels),
                ("fieldSelector", &query.fields()),
                ("continue", &token),
            ];
            let body = match self.read(&with_query(&query.path(), &pairs), Scope::All(&query.resource)).await {
                Ok(body) => body,
                // The rest of the list has expired: start again.
                Err(Failure::Status(status)) if status.code == 410 && !token.is_empty() && beginnings < BEGINNINGS => {
                    (all, token) = (Vec::new(), String::new());
                    beginnings += 1;
                    continue;
                }
                Err(failure) => {
                    let permission = query.permission("list");
                    let (namespace, name) = (query.namespace.as_ref(), query.name.as_ref());
                    return Err(self.read_error(&what, failure, &permission, namespace, name).await);
                }
            };
            let page: Page<T> = parse(&body, &what)?;
            all.extend(page.items.unwrap_or_default());
            token = page.metadata.r#continue;
            if token.is_empty() {
                return Ok((all, page.metadata.resource_version));
            }
        }
    }

    /// Finds the resource of a kind in an API version with one request, for kinds that are not built in.
    pub async fn discover(&self, api_version: &str, kind: &str) -> Result<Resource> {
        #[derive(Deserialize)]
        struct Served {
            resources: Vec<ServedResource>,
        }
        #[derive(Deserialize)]
        struct ServedResource {
            name: String,
            kind: String,
            namespaced: bool,
        }
        // Checks the two parts of the version, before they reach the path.
        Resource::discovered(api_version, kind, "x", true)
            .map_err(|error| Error::InvalidRequest(format!("TARGET_API_VERSION, TARGET_KIND: {error}")))?;
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        let unknown = || {
            Error::InvalidRequest(format!(
                "TARGET_API_VERSION, TARGET_KIND: the API server serves no kind {kind} in {api_version}"
            ))
        };
        let body = match self.read(&format!("{root}/{api_version}"), Scope::Other).await {
            Ok(body) => body,
            Err(Failure::Status(status)) if status.no_such_resource() => return Err(unknown()),
            Err(failure) => return Err(self.unavailable(&format!("look up {api_version}"), failure)),
        };
        let served: Served = parse(&body, "look up the kind")?;
        let found =
            served.resources.into_iter().find(|one| one.kind.eq_ignore_ascii_case(kind) && !one.name.contains('/'));
        let found = found.ok_or_else(unknown)?;
        Resource::discovered(api_version, &found.kind, &found.name, found.namespaced).map_err(|error| {
            Error::Internal(format!("the API server names a resource that breaks its own rules: {error}"))
        })
    }

    /// Sends a GET, and retries while that can help.
    pub(super) async fn read(&self, uri: &str, asked: Scope<'_>) -> Result<Bytes, Failure> {
        self.read_as(uri, "application/json", asked).await
    }

    async fn read_as(&self, uri: &str, form: &'static str, asked: Scope<'_>) -> Result<Bytes, Failure> {
        let mut attempt = 0;
        loop {
            let sent = Instant::now();
            let mut request =
                build(Method::GET, uri, "", Vec::new()).map_err(|error| Failure::Network(error.into()))?;
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(form));
            let failure = match self.call(request, self.read_limit(), attempt > 0).await {
                // An answer that was cut off unnoticed is like no answer.
                Ok(body) => match serde_json::from_slice::<IgnoredAny>(&body) {
                    Ok(_) => return Ok(body),
                    Err(error) => Failure::Network(format!("the answer is not JSON: {error}").into()),
                },
                Err(failure) => failure.about(asked),
            };
            if !self.goes_on(&failure, sent, attempt).await {
                return Err(failure);
            }
            attempt += 1;
        }
    }

    /// Returns the error of a failed read. A 403 causes an access review: only that can say what is missing.
    pub(super) async fn read_error(
        &self,
        what: &str,
        failure: Failure,
        permission: &Permission,
        namespace: Option<&Namespace>,
        name: Option<&Name>,
    ) -> Error {
        match failure {
            Failure::Status(status) if matches!(status.code, 401 | 403) => {
                self.denied(what, status, permission, namespace, name).await
            }
            Failure::Status(Status { code: 404, message, .. }) => {
                Error::NotServed(format!("failed to {what}: the API server knows no such resource ({message})"))
            }
            // Names are checked before: what is left are the texts of a request, such as a label selector.
            Failure::Status(Status { code: 400, message, .. }) => {
                Error::InvalidRequest(format!("failed to {what}: the API server does not understand it ({message})"))
            }
            Failure::Status(status) if !status.transient() => Error::Internal(format!("failed to {what}: {status}")),
            failure => self.unavailable(what, failure),
        }
    }
}

/// Reads an answer of the API server.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::unavailable(format!("failed to {what}: the answer is not what an API server sends"), error)
    })
}

/// Parses a name that the API server gave.
pub fn server_name(text: &str) -> Result<Name> {
    text.parse()
        .map_err(|error| Error::Internal(format!("the API server names an object that breaks its own rules: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::{Answer, cluster, not_found, object};
    use crate::cluster::{Cluster, READ_LIMIT};
    use crate::k8s::Kind;
    use rstest::rstest;
    use serde_json::json;

    fn toy() -> ObjectRef {
        let resource = Resource::discovered("example.com/v1", "Toy", "toys", true).unwrap();
        ObjectRef { resource, ..object(Kind::Pod) }
    }

    async fn both(cluster: &Cluster, object: &ObjectRef) -> (Result<Value>, Result<bool>) {
        (cluster.get(object).await, cluster.exists(object).await)
    }

    #[tokio::test(start_paused = true)]
    async fn gone_is_what_the_api_server_says_of_the_object() {
        let (cluster, seen) = cluster(|_, _| not_found("pods", "", "web"));
        let (got, exists) = both(&cluster, &object(Kind::Pod)).await;
        assert!(matches!(got, Err(Error::TargetNotFound(_))), "{got:?}");
        assert!(!exists.unwrap());
        assert_eq!(seen.with("GET").len(), 2);
    }

    #[rstest]
    #[case::html(|| Answer::Text(404, "<html>nothing here</html>"), "\"<html>nothing here</html>\"")]
    #[case::of_something_else(|| not_found("clusters", "management.cattle.io", "c-1"), "c-1")]
    #[tokio::test(start_paused = true)]
    async fn another_404_is_what_a_gateway_says(#[case] answer: fn() -> Answer, #[case] quoted: &str) {
        let (failing, seen) = cluster(move |_, _| answer());
        let (got, exists) = both(&failing.until(Instant::now() + READ_LIMIT), &object(Kind::Pod)).await;
        let Err(error @ Error::Unavailable { .. }) = got else { panic!("{got:?}") };
        let message = error.full_message();
        assert!(message.contains("something between here and the API server answered 404"), "{message}");
        assert!(message.contains(quoted), "{message}");
        assert!(matches!(exists, Err(Error::Unavailable { .. })), "{exists:?}");
        assert!(seen.with("GET").len() > 4);
        let (passing, _) = cluster(move |_, before| if before < 3 { answer() } else { Answer::Json(200, json!({})) });
        let (got, exists) = both(&passing, &object(Kind::Pod)).await;
        assert_eq!((got.unwrap(), exists.unwrap()), (json!({}), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateways_no_is_not_asked_for_long() {
        let (cluster, seen) = cluster(|_, _| Answer::Text(403, "<html>not for you</html>"));
        let error = cluster.get(&object(Kind::Pod)).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(seen.with("").len(), 3);
    }

    #[rstest]
    #[case::the_object_is_there(Answer::Json as fn(u16, Value) -> Answer, "has no /scale sub-resource")]
    #[case::it_is_not(|_, _| not_found("toys", "example.com", "web"), "does not exist")]
    #[tokio::test(start_paused = true)]
    async fn a_sub_resource_that_is_not_there(#[case] object: fn(u16, Value) -> Answer, #[case] says: &str) {
        let (cluster, _) = cluster(move |asked, _| {
            if asked.ends_with("/scale") { not_found("toys", "example.com", "web") } else { object(200, json!({})) }
        });
        let error = cluster.get_sub(&toy(), Some("scale")).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(matches!(error, Error::TargetNotFound(_)), says == "does not exist");
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_that_is_not_served_is_no_object_that_is_gone() {
        let (cluster, _) = cluster(|_, _| Answer::Text(404, "404 page not found\n"));
        let listed = cluster.list::<Value>(&Query::only(&toy())).await;
        assert!(matches!(listed, Err(Error::NotServed(_))), "{listed:?}");
        let found = cluster.discover("example.com/v1", "Toy").await;
        assert!(matches!(found, Err(Error::InvalidRequest(_))), "{found:?}");
        let near = cluster.until(Instant::now() + READ_LIMIT);
        let pods = near.list::<Value>(&Query::only(&object(Kind::Pod))).await;
        assert!(matches!(pods, Err(Error::Unavailable { .. })), "{pods:?}");
    }
}
