//! Kubernetes' own things as values: names, kinds, references, fields, selectors, quantities, permissions. Nothing here
//! knows the cluster.

mod kinds;
pub mod names;
pub mod object;
mod permission;
pub mod quantity;
mod reference;
pub mod selector;
pub mod taint;
pub mod template;

pub use kinds::{Kind, Resource};
pub use permission::Permission;
pub use reference::ObjectRef;
