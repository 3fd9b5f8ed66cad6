//! Runs Rego in a separate process: [`child`] is that process, [`parent`] is this side.

pub mod child;
mod declared;
pub mod parent;

pub use declared::Declared;
