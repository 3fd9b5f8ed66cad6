//! All settings, and the only reader of flags and environment.

mod flags;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actions::export::destination::AllowedHost;
use actions::k8s::quantity::quantity;
use contract::duration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use flags::{AdmissionFlags, AuditFlags, Command, Component, Flags, RunFlags};

/// The settings file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    /// Registry and path in front of the images' names, such as `ghcr.io/kubernaut`.
    image_registry: Option<String>,
    /// Tag of the images; by default the controller's own version.
    image_tag: Option<String>,
    /// Digests of the release's images by their names, as `images/build.sh` prints them: the tag is then only for people.
    image_digests: BTreeMap<String, String>,
    /// Whole image references (with a tag or a digest) by action type, or by verb.
    images: BTreeMap<String, String>,
    /// Action types, or verbs, whose image is not the release's, and may apply its action twice when it runs twice: a second
    /// attempt is made only when the first one is known to have done nothing.
    not_repeatable: Vec<String>,
    /// Default of `spec.timeout`.
    default_timeout: Option<duration::Duration>,
    /// Default of `spec.timeout` by action type, or by verb.
    timeouts: BTreeMap<String, duration::Duration>,
    /// Resources of the container.
    resources: Option<Resources>,
    /// Whether the runner posts an Event about its target.
    target_events: bool,
    /// Hosts that `collect-logs` may send to.
    upload_hosts: Option<String>,
    /// What conditions may hold; an execution that has more is refused before anything starts.
    conditions: ConditionLimits,
}

/// Resources of a container, as Kubernetes names them: what is mistyped would leave it without a limit.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Resources {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    requests: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, Value>,
}

/// What the conditions of an execution may hold. The definition's own limits, and 100 KiB in all, stand above these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConditionLimits {
    /// The most conditions of one list.
    pub most: usize,
    /// The most bytes of one condition's `rego`; 0 admits ready conditions only.
    pub rego_bytes: usize,
    /// The longest `timeout` of one condition.
    pub longest_timeout: duration::Duration,
}

impl Default for ConditionLimits {
    fn default() -> Self {
        Self { most: 10, rego_bytes: 16 << 10, longest_timeout: duration::Duration::seconds(24 * 60 * 60) }
    }
}

/// The settings that decide what a Job looks like.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    file: File,
    /// Resources of the container, if not the default.
    pub resources: Option<Value>,
    /// Whether the runner posts an Event about its target.
    pub target_events: bool,
    /// Hosts that `collect-logs` may send to.
    pub upload_hosts: Option<String>,
    /// Folder of the operator's policies.
    pub policy_dir: Option<PathBuf>,
}

impl File {
    /// Checks what every Job of every execution would be refused for.
    fn check(&self) -> Result<(), String> {
        for (name, image) in &self.images {
            if image.is_empty() {
                return Err(format!(
                    "--settings: images.{name}: expected an image, is empty; leave it out for the release's"
                ));
            }
        }
        if self.image_tag.as_deref() == Some("") {
            return Err(
                "--settings: imageTag: expected a tag, is empty; leave it out for the controller's own version"
                    .to_owned(),
            );
        }
        if let Some(registry) = self.image_registry.as_deref().filter(|one| one.is_empty() || one.ends_with('/')) {
            return Err(format!(
                "--settings: imageRegistry: expected a registry and a path such as ghcr.io/kubernaut, without a slash at its end, got {registry:?}"
            ));
        }
        let hosts = self.upload_hosts.iter().flat_map(|hosts| hosts.split(',')).map(str::trim);
        for host in hosts.filter(|host| !host.is_empty()) {
            host.parse::<AllowedHost>().map_err(|error| format!("--settings: uploadHosts: expected {error}"))?;
        }
        let resources = self.resources.iter().flat_map(|all| [("requests", &all.requests), ("limits", &all.limits)]);
        for (list, (name, amount)) in resources.flat_map(|(list, all)| all.iter().map(move |one| (list, one))) {
            if quantity(amount).is_none_or(|amount| amount < 0.0) {
                return Err(format!(
                    "--settings: resources.{list}.{name}: expected a quantity such as 64Mi or 100m, got {amount}"
                ));
            }
        }
        Ok(())
    }
}

impl Settings {
    /// Reads the settings file, if there is one.
    pub fn read(file: Option<&Path>, policy_dir: Option<&Path>) -> Result<Self, String> {
        let file: File = match file {
            Some(path) => {
                let wrong = |error: String| format!("--settings: {}: {error}", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
                serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?
            }
            None => File::default(),
        };
        check_digests(&file.image_digests)?;
        file.check()?;
        let known = actions::catalogue::names();
        let keys = file.images.keys().chain(file.timeouts.keys()).chain(&file.not_repeatable);
        for key in keys {
            // In one spelling only: by it what an execution asks for is looked up.
            let verbs = actions::catalogue::Verb::ALL.map(actions::catalogue::Verb::name);
            if !verbs.contains(&key.as_str()) && !known.contains(key) {
                let hint = contract::text::did_you_mean(key, verbs.into_iter().chain(known.iter().map(String::as_str)));
                return Err(format!("--settings: {key:?} is no action type and no verb{hint}"));
            }
        }
        Ok(Self {
            resources: file.resources.as_ref().map(|resources| serde_json::json!(resources)),
            target_events: file.target_events,
            upload_hosts: file.upload_hosts.clone(),
            policy_dir: policy_dir.map(Path::to_path_buf),
            file,
        })
    }

    /// Returns the image for an action type; `name` is that of the release.
    pub fn image(&self, action_type: &str, name: &str) -> String {
        if let Some(image) = by_type(&self.file.images, action_type) {
            return image.clone();
        }
        let registry = self.file.image_registry.as_ref().map(|registry| format!("{registry}/")).unwrap_or_default();
        let tag = self.file.image_tag.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
        let digest = self.file.image_digests.get(name).map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{registry}{name}:{tag}{digest}")
    }

    /// Returns what conditions may hold.
    pub fn conditions(&self) -> &ConditionLimits {
        &self.file.conditions
    }

    /// Returns whether a second pod of this action type cannot apply the action twice, as far as the operator says.
    pub fn repeatable(&self, action_type: &str) -> bool {
        !self.file.not_repeatable.iter().any(|key| is_of(action_type, key))
    }

    /// Returns whether the image of this action type is the release's, so that its exit codes mean what the contract says.
    pub fn release(&self, action_type: &str) -> bool {
        by_type(&self.file.images, action_type).is_none() && self.repeatable(action_type)
    }

    /// Returns the timeout of an execution that names none.
    pub fn timeout(&self, action_type: &str) -> Duration {
        const FIVE_MINUTES: Duration = Duration::from_mins(5);
        let own = by_type(&self.file.timeouts, action_type).or(self.file.default_timeout.as_ref());
        own.map_or(FIVE_MINUTES, |own| own.get())
    }

    /// Reads the operator's policies: a JSON object of file names and their texts. An error means that nothing may be
    /// started: a policy that cannot be read lets nothing pass.
    pub fn policies(&self) -> Result<Option<String>, String> {
        /// The kernel takes 128 KiB for one variable.
        const LARGEST: usize = 100 << 10;
        let Some(folder) = &self.policy_dir else { return Ok(None) };
        let wrong = |error: std::io::Error| format!("--policy-dir: {}: {error}", folder.display());
        let mut modules = Map::new();
        for entry in std::fs::read_dir(folder).map_err(wrong)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).map_err(wrong)?;
            // In a mounted ConfigMap, files link into `..data`.
            let name = name.to_string_lossy().into_owned();
            let rego = path.extension().is_some_and(|extension| extension == "rego");
            if rego && !name.starts_with('.') && !name.ends_with("_test.rego") {
                modules.insert(name, Value::from(std::fs::read_to_string(&path).map_err(wrong)?));
            }
        }
        if modules.is_empty() {
            return Err(format!("--policy-dir: {} holds no .rego file", folder.display()));
        }
        let text = Value::Object(modules).to_string();
        if text.len() > LARGEST {
            return Err(format!(
                "--policy-dir: expected at most {LARGEST} bytes, {} holds {}",
                folder.display(),
                text.len()
            ));
        }
        Ok(Some(text))
    }
}

/// A name that no image has would pin nothing, and say nothing.
fn check_digests(digests: &BTreeMap<String, String>) -> Result<(), String> {
    let names: Vec<&str> = actions::catalogue::IMAGES.iter().map(|image| image.name).collect();
    for (name, digest) in digests {
        if !names.contains(&name.as_str()) {
            let hint = contract::text::did_you_mean(name, names.iter().copied());
            return Err(format!("--settings: imageDigests: {name:?} is no image of the release{hint}"));
        }
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!(
                "--settings: imageDigests.{name}: expected sha256: and 64 hexadecimal digits, got {digest:?}"
            ));
        }
    }
    Ok(())
}

/// Returns what is set for an action type, or else for its verb.
fn by_type<'a, T>(all: &'a BTreeMap<String, T>, action_type: &str) -> Option<&'a T> {
    all.get(action_type).or_else(|| all.iter().find(|(key, _)| is_of(action_type, key)).map(|(_, value)| value))
}

/// Returns whether a key of the settings is this action type, or its verb.
fn is_of(action_type: &str, key: &str) -> bool {
    action_type.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let file = std::env::temp_dir().join(format!("settings-{:?}-{}", std::thread::current().id(), text.len()));
        std::fs::write(&file, text).unwrap();
        let settings = Settings::read(Some(&file), None);
        std::fs::remove_file(&file).unwrap();
        settings
    }

    #[test]
    fn an_image_is_by_type_then_by_verb_then_the_releases() {
        let settings = read("imageRegistry: r.example/x\nimages: { scale: s@sha256:1, scale-pod: p:2 }").unwrap();
        assert_eq!(settings.image("scale-pod", "action-scale"), "p:2");
        assert_eq!(settings.image("scale-deployment", "action-scale"), "s@sha256:1");
        let release = format!("r.example/x/action-restart:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(settings.image("restart-pod", "action-restart"), release);
    }

    /// Pinned by its digest, an image is still the release's: its exit codes mean what the contract says.
    #[test]
    fn an_image_of_the_release_may_be_pinned_by_its_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let settings = read(&format!("imageTag: '7'\nimageDigests: {{ action-scale: '{digest}' }}")).unwrap();
        assert_eq!(settings.image("scale-pod", "action-scale"), format!("action-scale:7@{digest}"));
        assert_eq!(settings.image("restart-pod", "action-restart"), "action-restart:7");
        assert!(settings.release("scale-pod"));
        let error = read(&format!("imageDigests: {{ action-scael: '{digest}' }}")).unwrap_err();
        assert!(error.ends_with("did you mean action-scale?"), "{error}");
        for wrong in ["sha256:12", &digest.replace("0a", "0A"), &digest.replace("sha256", "sha512")] {
            let error = read(&format!("imageDigests: {{ action-scale: '{wrong}' }}")).unwrap_err();
            assert!(error.contains("imageDigests.action-scale: expected sha256:"), "{error}");
        }
    }

    #[test]
    fn a_timeout_is_by_type_then_by_verb_then_the_default() {
        let settings = read("defaultTimeout: 7m\ntimeouts: { collect-logs: 1m, collect-logs-job: 2m }").unwrap();
        let minutes = |action_type: &str| settings.timeout(action_type).as_secs() / 60;
        assert_eq!((minutes("collect-logs-job"), minutes("collect-logs-pod"), minutes("scale-pod")), (2, 1, 7));
        assert_eq!(Settings::default().timeout("scale-pod"), Duration::from_mins(5));
    }

    #[test]
    fn what_is_not_repeatable_is_by_type_or_by_verb() {
        let settings = read("notRepeatable: [scale, restart-pod]").unwrap();
        let repeatable = ["scale-pod", "restart-pod", "restart-deployment"].map(|one| settings.repeatable(one));
        assert_eq!(repeatable, [false, false, true]);
    }

    #[test]
    fn conditions_have_the_definitions_limits_but_for_what_is_set() {
        let limits = *read("conditions: { regoBytes: 0 }").unwrap().conditions();
        assert_eq!(limits, ConditionLimits { rego_bytes: 0, ..ConditionLimits::default() });
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(read("imagess: {}").unwrap_err().contains("imagess"));
        assert!(read("timeouts: { scael: 1m }").unwrap_err().ends_with("did you mean scale?"));
        assert!(read("conditions: { most: 2, longest: 1m }").unwrap_err().contains("longest"));
        for (text, says) in [
            ("notRepeatable: [Scale]", "did you mean scale?"),
            ("images: { restart_pod: x }", "did you mean restart-pod?"),
            ("images: { scale: '' }", "images.scale: expected an image"),
            ("imageTag: ''", "imageTag: expected a tag"),
            ("imageRegistry: r.example/", "imageRegistry: expected a registry"),
            ("uploadHosts: https://s3.example.com", "uploadHosts: expected"),
            ("resources: { limit: { memory: 64Mi } }", "limit"),
            ("resources: { limits: { memory: lots } }", "resources.limits.memory: expected a quantity"),
            ("resources: { requests: { cpu: [1] } }", "resources.requests.cpu: expected a quantity"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(read("resources: { limits: { memory: 64Mi, cpu: 1 } }\nuploadHosts: s3.example.com").is_ok());
        assert!(read("timeouts: { scale: soon }").unwrap_err().contains("expected a duration such as 90s"));
    }
}
