//! Any names, a line each: what becomes a path has the segments that were meant, and nothing else.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here is a finding")]

use actions::k8s::{Kind, ObjectRef, Resource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (api_version, kind, plural, namespace, name) = (next(), next(), next(), next(), next());
    let discovered = Resource::discovered(api_version, kind, plural, true).ok();
    let built_in = Kind::parse(kind).map(Kind::resource);
    let Ok(name) = name.parse() else { return };
    let namespace = namespace.parse().ok();
    for resource in [discovered, built_in].into_iter().flatten() {
        if resource.namespaced() != namespace.is_some() {
            continue;
        }
        let object = ObjectRef { resource, namespace: namespace.clone(), name, uid: None };
        for subresource in [None, Some("scale")] {
            let path = object.path(subresource);
            let uri: http::Uri = path.parse().unwrap_or_else(|error| panic!("{path:?} is no URI: {error}"));
            assert_eq!((uri.path(), uri.query()), (path.as_str(), None));
            let group = usize::from(!object.resource.group().is_empty());
            let expected =
                2 + group + 2 * usize::from(object.namespace.is_some()) + 2 + usize::from(subresource.is_some());
            let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            assert!(
                segments.len() == expected && segments.iter().all(|one| !matches!(*one, "" | "." | "..")),
                "{path:?}"
            );
        }
        return;
    }
});
