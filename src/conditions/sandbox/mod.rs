//! Rego in a process of its own: [`child`] is that process, [`parent`] this side of it.

pub mod child;
mod declared;
pub mod parent;

pub use declared::Declared;
