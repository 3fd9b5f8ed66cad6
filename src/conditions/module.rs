//! Rego modules.

use serde::{Deserialize, Serialize};

/// A Rego module, and its name for errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Name of a file, or one made of the condition's type.
    pub name: String,
    /// Text of the module.
    pub text: String,
}
