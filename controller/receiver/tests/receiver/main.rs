//! The receiver as its users meet it: the program, a real PostgreSQL, real connections. What is held against it is the
//! database, and then its answers.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that fails says so by a panic"
)]

mod answers;
mod away;
mod docs;
mod once;
mod partitions;
mod queries;
mod support;
