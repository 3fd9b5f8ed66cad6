//! What the runner and its controller share: what is asked, and what is answered.
//!
//! Results are read leniently, so that a controller understands runners older and newer than itself. Requests are read
//! strictly: what is not understood is refused before anything happens.

pub mod annotations;
pub mod code;
pub mod condition;
pub mod duration;
pub mod parse;
pub mod result;
pub mod text;
pub mod variables;
pub mod waiting;
