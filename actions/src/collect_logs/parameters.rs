//! What `collect-logs` takes, and what it reports.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sources::ContainerKind;
use crate::export::destination::UploadAddress;

/// Parameters of `collect-logs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectLogs {
    /// Which instances of each container.
    #[serde(default)]
    pub instances: Instances,
    /// Only lines younger than this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub since_seconds: Option<u64>,
    /// Only this many lines from the end of each log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_lines: Option<u64>,
    /// Only containers whose whole name matches this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<String>,
    /// How many bytes of output over all containers: 5 MiB at most on stdout, 32 MiB in files, 16 MiB to an address.
    #[serde(default = "one_mebibyte")]
    pub max_bytes: u64,
    /// Whether lines carry their time.
    #[serde(default = "yes")]
    pub timestamps: bool,
    /// Whether what looks like a secret is replaced by `[REDACTED]`.
    #[serde(default = "yes")]
    pub redact: bool,
    /// Where the lines go.
    #[serde(default)]
    pub destination: Destination,
    /// The folder for `destination: directory`: it must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The presigned address for `destination: url`: one HTTP PUT of a `.tar.gz`, to a host that `ACTION_UPLOAD_HOSTS` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub url: Option<UploadAddress>,
}

const fn yes() -> bool {
    true
}

const fn one_mebibyte() -> u64 {
    1 << 20
}

/// Which instances of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// The current one and, of a container that was restarted, the one before.
    #[default]
    Both,
    /// The current one.
    Current,
    /// The one before.
    Previous,
}

/// Where the lines go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// As `LogLine` objects on stdout, before the result.
    #[default]
    Stdout,
    /// As text in a folder, one file per container.
    Directory,
    /// As one compressed bundle to a presigned address.
    Url,
}

/// What `collect-logs` reports.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// How many pods there were.
    pub pods: usize,
    /// How many lines were written.
    pub lines: usize,
    /// How many bytes they have, as written.
    pub bytes: usize,
    /// How many older lines did not fit into `maxBytes`.
    pub dropped_lines: usize,
    /// How many lines were longer than 8 KiB and lost their end.
    pub cut_lines: usize,
    /// How many secrets were replaced.
    pub redacted: usize,
    /// The size of the bundle that was sent to `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_bytes: Option<usize>,
    /// One entry per container and instance.
    pub containers: Vec<Report>,
}

/// What became of one container's log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Its role in the pod.
    pub kind: ContainerKind,
    /// Whether it is the instance before the last restart.
    pub previous: bool,
    /// How many lines were written.
    pub lines: usize,
    /// How many older ones did not fit.
    pub dropped_lines: usize,
    /// Why its beginning may be missing: the API serves nothing that the kubelet has rotated away, and does not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Why it could not be read, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
