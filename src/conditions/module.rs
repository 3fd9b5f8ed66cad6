//! Rego modules.

use serde::{Deserialize, Serialize};

/// A Rego module and the name that errors show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// A file's name, or one made of the condition's type.
    pub name: String,
    /// The text.
    pub text: String,
}
