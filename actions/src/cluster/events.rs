//! Events of a watch, and the position from which it continues.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::k8s::object::text;

/// The part of each object that a watch keeps; small, because there may be thousands.
pub trait Item: DeserializeOwned + Send + 'static {
    /// True when the key has the namespace (`shop/web`), for objects that are watched in all namespaces.
    const BY_NAMESPACE: bool = false;
    /// Returns the key, by which later events replace the object.
    fn key(&self) -> &str;
}

impl Item for Value {
    fn key(&self) -> &str {
        text(self, "/metadata/name").unwrap_or_default()
    }
}

/// An event about the objects, and the resourceVersion after it.
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

/// Position from which a watch continues, and the objects known there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Start {
    pub(super) version: String,
    /// The resourceVersion of each object, by its key.
    pub(super) known: BTreeMap<String, String>,
}

impl Start {
    /// Starts at one object in hand.
    pub(super) fn at(object: &Value) -> Self {
        let version = version_of(object);
        Self { known: BTreeMap::from([(object.key().to_owned(), version.clone())]), version }
    }
}

pub(super) fn version_of(object: &Value) -> String {
    text(object, "/metadata/resourceVersion").unwrap_or_default().to_owned()
}

/// Returns the key of an item.
pub fn key(by_namespace: bool, namespace: &str, name: String) -> String {
    if by_namespace && !namespace.is_empty() { format!("{namespace}/{name}") } else { name }
}
