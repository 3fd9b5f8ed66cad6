//! Where the policy comes from.

use std::path::PathBuf;

/// Where the policy comes from. Set but empty does not mean "no policy": whoever sets it wants one.
#[derive(Debug, Clone, Default)]
pub struct PolicySource {
    /// `ACTION_POLICY_DIR`
    pub folder: Option<PathBuf>,
    /// `ACTION_POLICIES`
    pub inline: Option<String>,
}

impl PolicySource {
    /// Takes the texts of the two variables.
    pub fn of(folder: Option<&str>, inline: Option<&str>) -> Self {
        Self { folder: folder.map(PathBuf::from), inline: inline.map(str::to_owned) }
    }
}
