//! Parameters and details of `collect-logs`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sources::ContainerKind;
use crate::export::destination::UploadAddress;

/// Parameters of `collect-logs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectLogs {
    /// The instances of each container to read.
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
    /// The most bytes of output over all containers: 5 MiB at most on stdout, 32 MiB in files, 16 MiB to an address.
    #[serde(default = "one_mebibyte")]
    pub max_bytes: u64,
    /// Write the time of each line.
    #[serde(default = "yes")]
    pub timestamps: bool,
    /// Replace what looks like a secret by `[REDACTED]`. `false` is a warning in the result, and an image's lock may
    /// forbid it.
    #[serde(default = "yes")]
    pub redact: bool,
    /// Destination of the lines.
    #[serde(default)]
    pub destination: Destination,
    /// Folder for `destination: directory`; must exist, and hold no file of the same name.
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

/// Choice among the instances of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// The current instance and, if the container was restarted, the one before.
    #[default]
    Both,
    /// The current instance.
    Current,
    /// The last instance that has ended, also while its container waits for its next start.
    Previous,
}

/// Destination of the lines.
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

/// Details of the result of `collect-logs`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Number of pods.
    pub pods: usize,
    /// Number of lines written.
    pub lines: usize,
    /// Number of bytes written.
    pub bytes: usize,
    /// Number of older lines that did not fit into `maxBytes`.
    pub dropped_lines: usize,
    /// Number of lines that were longer than 8 KiB and lost their end.
    pub cut_lines: usize,
    /// Number of secrets replaced.
    pub redacted: usize,
    /// Size of the bundle that was sent to `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded_bytes: Option<usize>,
    /// One entry per container and instance.
    pub containers: Vec<Report>,
}

/// Result of reading one container's log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Role of the container in the pod.
    pub kind: ContainerKind,
    /// True for the instance before the last restart.
    pub previous: bool,
    /// Number of lines written.
    pub lines: usize,
    /// Number of older lines that did not fit.
    pub dropped_lines: usize,
    /// Reason why the beginning may be missing: the API serves nothing that the kubelet has rotated away, and does not
    /// say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Reason why the log could not be read, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
