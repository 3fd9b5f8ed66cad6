//! Checks a run by Rego: policies that may deny it, and conditions that must hold before and after it.
//!
//! ```text
//! texts ─▶ parse (in a child: packages, rules, which documents they read) ─▶ permissions
//!       ─▶ policy, preconditions: once, on the target that was found ─▶ …the change… ─▶ postconditions: until they hold
//! ```
//!
//! Rego is never parsed or evaluated in this process. A module may loop, grow or recurse, and regorus' own limits do
//! not hold (a `numbers.range` of 200 million ran for 8.7 s past a limit of 300 ms). So each evaluation is a child
//! process under limits of the operating system: see [`sandbox`].

pub mod documents;
pub mod evaluate;
pub mod input;
pub mod library;
pub mod module;
pub mod parse;
pub mod policy_dir;
mod policy_inline;
pub mod sandbox;
mod words;
