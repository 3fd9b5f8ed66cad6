//! Runs Rego in a separate process: [`child`] is that process, [`parent`] is this side.

pub mod child;
mod declared;
mod memory;
pub mod parent;

pub use declared::Declared;
