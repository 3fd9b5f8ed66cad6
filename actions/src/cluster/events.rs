//! What a watch tells, and where it goes on from.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::k8s::object::text;

/// What a follower keeps of each object; small, because there may be thousands.
pub trait Item: DeserializeOwned + Send + 'static {
    /// Whether it is known by namespace and name (`shop/web`), for what is followed in all namespaces.
    const BY_NAMESPACE: bool = false;
    /// What it is known by, and later events replace it by.
    fn key(&self) -> &str;
}

impl Item for Value {
    fn key(&self) -> &str {
        text(self, "/metadata/name").unwrap_or_default()
    }
}

/// What the watcher learnt: something about the objects, and the resourceVersion at which it is so.
#[derive(Debug, PartialEq)]
pub(super) struct Learnt<T> {
    pub(super) version: String,
    pub(super) event: Event<T>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Event<T> {
    Set(T),
    Gone(String),
    All(Vec<T>),
    /// Nothing changed until this version.
    Bookmark,
}

/// Where a watch goes on from, and what is known there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Start {
    pub(super) version: String,
    /// The resourceVersion of each object, by what it is known by.
    pub(super) known: BTreeMap<String, String>,
}

impl Start {
    /// One object in hand.
    pub(super) fn at(object: &Value) -> Self {
        let version = version_of(object);
        Self { known: BTreeMap::from([(object.key().to_owned(), version.clone())]), version }
    }
}

pub(super) fn version_of(object: &Value) -> String {
    text(object, "/metadata/resourceVersion").unwrap_or_default().to_owned()
}

/// What an item is known by.
pub fn key(by_namespace: bool, namespace: &str, name: String) -> String {
    if by_namespace && !namespace.is_empty() { format!("{namespace}/{name}") } else { name }
}
