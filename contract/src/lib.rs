//! The contract between the runner and its controller: the requests and the results.
//!
//! Results are read leniently, so that a controller understands runners older and newer than itself. Requests are read
//! strictly: a request with anything unknown in it is refused before anything happens.

pub mod annotations;
pub mod code;
pub mod condition;
pub mod duration;
pub mod event;
pub mod flag;
pub mod parse;
pub mod result;
pub mod text;
pub mod variables;
pub mod waiting;
