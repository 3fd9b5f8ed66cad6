//! Reads kubeconfigs. They hold tokens and keys, and values land in the wrong field: an error names the place and the kind
//! of what is wrong, and quotes nothing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use serde_saphyr::Error as YamlError;

/// `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Default)]
pub struct Proxy {
    /// The proxy's address.
    pub https: Option<String>,
    /// Hosts that are reached without the proxy.
    pub none_for: Option<String>,
}

/// Shows whether there is one: the address may hold a password.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", if self.https.is_some() { "set" } else { "none" })
    }
}

impl Proxy {
    /// Returns whether the address is reached without the proxy, as kubectl (Go) decides that: this machine always, and what
    /// `NO_PROXY` names: a host, a domain that it is in, an IP address or a range of them (CIDR), or `*`. Decided here, because
    /// kube matches the list against the proxy's own host.
    fn bypassed_for(&self, address: &http::Uri) -> bool {
        let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
        let list = self.none_for.as_deref().unwrap_or_default();
        let this_machine = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        // To the matcher, a host that is an IP address is not in `*`.
        if this_machine || list.split(',').any(|entry| entry.trim() == "*") {
            return true;
        }
        // Any proxy: asked is only whether it would be used.
        let rules = Matcher::builder().all("http://proxy").no(list).build();
        rules.intercept(address).is_none()
    }
}

/// Reads the files, merges them in their order, and takes the context.
pub(super) async fn read(files: &[PathBuf], context: Option<&String>, proxy: &Proxy) -> Result<Config, String> {
    let mut merged: Option<Kubeconfig> = None;
    for (index, file) in files.iter().enumerate() {
        // What `KUBECONFIG` holds may be a kubeconfig itself: a path is only shown where a file lies.
        let which = if files.len() > 1 { format!("file {} of {}: ", index + 1, files.len()) } else { String::new() };
        let wrong = |error| format!("KUBECONFIG: {which}{}{}", permissions_hint(file), why(&error));
        // As kubectl: of several files, those that are not there say nothing. One that may not be looked at is not absent: without it
        // another cluster could be meant.
        if files.len() > 1 && matches!(file.try_exists(), Ok(false)) {
            continue;
        }
        let mut read = Kubeconfig::read_from(file).map_err(wrong)?;
        // An empty one says nothing either; to kube it would be the one that counts.
        read.current_context = read.current_context.filter(|name| !name.is_empty());
        merged = Some(match merged {
            None => read,
            Some(first) => first.merge(read).map_err(wrong)?,
        });
    }
    let kubeconfig = merged.ok_or_else(|| match files.len() {
        0 => "KUBECONFIG: names no file".to_owned(),
        many => format!("KUBECONFIG: names {many} files, and none of them is there"),
    })?;
    check_plugin(&kubeconfig, context)?;
    let options = KubeConfigOptions { context: context.cloned(), ..KubeConfigOptions::default() };
    let own_proxy = kubeconfig.clone();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| format!("KUBECONFIG, KUBE_CONTEXT: {}", why(&error)))?;
    config.proxy_url = proxy_for(&config, &own_proxy, context, proxy)?;
    Ok(config)
}

/// Returns why a kubeconfig cannot be used, without its content.
pub(super) fn why(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => "it has no current-context: set KUBE_CONTEXT".to_owned(),
        KubeconfigError::LoadContext(_) => {
            "it has no context of the name in KUBE_CONTEXT, or without that in its current-context".to_owned()
        }
        KubeconfigError::LoadClusterOfContext(_) => "its context names a cluster that it does not have".to_owned(),
        KubeconfigError::ReadConfig(error, _) => format!("failed to read the file that it names: {error}"),
        KubeconfigError::Parse(error) => yaml(error),
        KubeconfigError::ParseClusterUrl(error) => format!("server: not an address ({error})"),
        KubeconfigError::ParseProxyUrl(_) => "proxy-url: not an address".to_owned(),
        KubeconfigError::LoadCertificateAuthority(error) => data("certificate-authority", error),
        KubeconfigError::LoadClientCertificate(error) => data("client-certificate", error),
        KubeconfigError::LoadClientKey(error) => data("client-key", error),
        KubeconfigError::ParseCertificates(_) => {
            "certificate-authority: not valid PEM (whose first and last lines stand by themselves)".to_owned()
        }
        KubeconfigError::ParseNoProxy(_) => "NO_PROXY: cannot be understood".to_owned(),
        KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch
        | KubeconfigError::FindPath
        | KubeconfigError::MissingClusterUrl => error.to_string(),
    }
}

/// Returns why a field of data, or the file that the one beside it names, cannot be used.
fn data(field: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => format!("{field}-data: not base64"),
        LoadDataError::ReadFile(error, _) => format!(
            "{field}: failed to read the file that it names: {error}; by hand in a container, use a self-contained file: \
             kubectl config view --raw --minify --flatten"
        ),
        LoadDataError::NoBase64DataOrFile => format!("{field}: needed, or {field}-data"),
    }
}

/// Returns the place and the kind of an error in YAML. The words of the parser's own error hold the value, an excerpt with
/// the lines around it, or both.
fn yaml(error: &YamlError) -> String {
    let error = error.without_snippet();
    let reason = match error {
        YamlError::Eof { .. } => "it ends too early".to_owned(),
        YamlError::Unexpected { expected, .. } => format!("expected {expected}"),
        YamlError::SerdeInvalidType { expected, .. } | YamlError::SerdeInvalidValue { expected, .. } => {
            format!("another kind of value, expected {expected}")
        }
        YamlError::SerdeMissingField { field, .. } => format!("{field} is missing"),
        YamlError::SerdeInvalidLength { .. } => "a list of another length".to_owned(),
        YamlError::DuplicateMappingKey { .. } => "a name stands there twice".to_owned(),
        YamlError::UnknownAnchor { .. } => "an anchor that is not there".to_owned(),
        YamlError::InvalidScalar { ty, .. } => format!("expected {ty}"),
        YamlError::Budget { .. } => "it is too large or too deep".to_owned(),
        _ => "it cannot be read".to_owned(),
    };
    match error.location() {
        Some(place) => format!("not a kubeconfig: line {}, column {}: {reason}", place.line(), place.column()),
        None => format!("not a kubeconfig: {reason}"),
    }
}

/// Returns the kubeconfig's own proxy, or the environment's unless `NO_PROXY` names the cluster's host.
fn proxy_for(
    config: &Config,
    kubeconfig: &Kubeconfig,
    context: Option<&String>,
    proxy: &Proxy,
) -> Result<Option<http::Uri>, String> {
    let name = context.or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|one| Some(&one.name) == name).and_then(|one| one.context.as_ref());
    let cluster = kubeconfig.clusters.iter().find(|one| context.is_some_and(|context| context.cluster == one.name));
    let own = cluster.and_then(|one| one.cluster.as_ref()?.proxy_url.clone()).filter(|url| !url.is_empty());
    let bypassed = || proxy.bypassed_for(&config.cluster_url);
    let url = own.or_else(|| proxy.https.clone().filter(|url| !url.is_empty() && !bypassed()));
    url.map(|url| {
        url.parse().map_err(|error| format!("HTTPS_PROXY (or the kubeconfig's proxy-url): not an address ({error})"))
    })
    .transpose()
}

/// Fails if the login plugin is missing: images without a shell have none, and kube's own error would not even name it.
fn check_plugin(kubeconfig: &Kubeconfig, context: Option<&String>) -> Result<(), String> {
    let name = context.or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|one| Some(&one.name) == name).and_then(|one| one.context.as_ref());
    let user =
        context.and_then(|context| kubeconfig.auth_infos.iter().find(|one| Some(&one.name) == context.user.as_ref()));
    let command = user.and_then(|user| user.auth_info.as_ref()?.exec.as_ref()?.command.clone());
    match command {
        Some(command) if !on_path(&command) => Err(format!(
            "KUBECONFIG: its user logs in with the plugin {command:?}, which is not here; use a kubeconfig with a token instead \
             (kubectl create token SERVICEACCOUNT), which also runs with just the permissions that a Job has"
        )),
        _ => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "PATH is no input of the action, but where the system looks for a login plugin"
)]
fn on_path(command: &str) -> bool {
    if command.contains('/') {
        return Path::new(command).exists();
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(command).exists()))
}

fn permissions_hint(file: &Path) -> String {
    match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => format!(
            "{} is not readable for this user (kubeconfigs often have mode 0600): run the container as its owner, --user \"$(id -u):$(id -g)\" (rootless podman: with --userns=keep-id too); ",
            file.display()
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://api.example.com:6443", "example.com", true)]
    #[case("https://api.example.com", ".example.com", true)]
    #[case("https://badexample.com", "example.com", false)]
    #[case("https://10.0.0.1", "localhost,,10.0.0.1", true)]
    #[case("https://10.96.0.1:443", "10.0.0.0/8, .svc", true)]
    #[case("https://11.0.0.1", "10.0.0.0/8", false)]
    #[case("https://[fd00::1]:6443", "fd00::/8", true)]
    #[case("https://10.0.0.1", "*", true)]
    #[case("https://10.0.0.1", "", false)]
    #[case::always_this_machine("https://127.0.0.1:6443", "", true)]
    #[case::by_name("https://localhost:6443", "", true)]
    #[case::by_ipv6("https://[::1]:6443", "", true)]
    #[case::not_by_its_beginning("https://localhost.example.com", "", false)]
    fn no_proxy_is_about_the_cluster(#[case] address: &str, #[case] list: &str, #[case] bypassed: bool) {
        let proxy = Proxy { https: None, none_for: Some(list.to_owned()) };
        assert_eq!(proxy.bypassed_for(&address.parse().unwrap()), bypassed);
    }

    fn kubeconfig(folder: &Path, name: &str, context: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        let text = format!("apiVersion: v1\nkind: Config\ncurrent-context: {context}\n{text}");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// As kubectl merges them: a file that is not there, and an empty current-context, say nothing.
    #[tokio::test]
    async fn of_several_files_what_says_nothing_is_passed_over() {
        const CLUSTER: &str = "clusters: [{ name: c, cluster: { server: 'https://right' } }]\n\
                               contexts: [{ name: x, context: { cluster: c, user: u } }]\nusers: [{ name: u, user: {} }]";
        let folder = tempfile::tempdir().unwrap();
        let files = [
            folder.path().join("absent"),
            kubeconfig(folder.path(), "first", "''", ""),
            kubeconfig(folder.path(), "second", "x", CLUSTER),
        ];
        let config = read(&files, None, &Proxy::default()).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("right"));
        let unseen = [files[1].join("below-a-file"), files[2].clone()];
        let error = read(&unseen, None, &Proxy::default()).await.unwrap_err();
        assert!(error.contains("file 1 of 2: ") && error.contains("failed to read the file"), "{error}");
        let absent = [folder.path().join("absent"), folder.path().join("away")];
        let error = read(&absent, None, &Proxy::default()).await.unwrap_err();
        assert_eq!(error, "KUBECONFIG: names 2 files, and none of them is there");
    }

    const TOKEN: &str = "hunter22.eyJhbGciOiJub25lIn0";

    fn told(text: &str) -> String {
        let error = serde_saphyr::from_multiple::<Kubeconfig>(text).unwrap_err();
        why(&KubeconfigError::Parse(Box::new(error)))
    }

    /// Each is a kubeconfig that somebody edited by hand, with a token on the broken line or beside it.
    #[rstest]
    #[case::a_text_in_place_of_a_list(&format!("users: {TOKEN}\n"), "line 1, column 8")]
    #[case::a_token_in_place_of_a_user(&format!("users:\n- name: a\n  user: {TOKEN}\n"), "line 3")]
    #[case::unclosed_quote(&format!("users:\n- name: a\n  user:\n    token: \"{TOKEN}\n"), "line ")]
    #[case::indented_wrongly(&format!("users:\n- name: a\n  user:\n    token: {TOKEN}\n   x: y\n"), "line ")]
    #[case::a_tab(&format!("users:\n- name: a\n  user:\n\ttoken: {TOKEN}\n"), "line ")]
    #[case::a_list_for_a_token(&format!("users:\n- name: a\n  user:\n    token: [{TOKEN}]\n"), "line ")]
    #[case::a_token_for_a_name(&format!("contexts:\n- {TOKEN}\n"), "line 2")]
    #[case::twice(&format!("users:\n- name: a\n  user:\n    token: {TOKEN}\n    token: {TOKEN}\n"), "line ")]
    #[case::an_alias(&format!("users: *{TOKEN}\n"), "line 1")]
    #[case::a_tag(&format!("users: !{TOKEN} x\n"), "line 1")]
    #[case::a_boolean(&format!("clusters:\n- name: a\n  cluster:\n    insecure-skip-tls-verify: {TOKEN}\n"), "line ")]
    #[case::only_a_token(TOKEN, "not a kubeconfig")]
    fn a_broken_kubeconfig_is_told_by_its_place(#[case] text: &str, #[case] place: &str) {
        let error = told(text);
        assert!(error.starts_with("not a kubeconfig: ") && error.contains(place), "{error}");
        assert!(!error.contains("hunter") && !error.contains("eyJ"), "{error}");
        assert!(error.lines().count() == 1 && error.len() < 200, "{error}");
    }

    #[rstest]
    #[case::data(LoadDataError::NoBase64DataOrFile, "client-key: needed, or client-key-data")]
    #[case::a_key_in_place_of_a_path(LoadDataError::ReadFile(std::io::Error::other("no such file"), TOKEN.into()), "client-key: failed to read the file that it names: no such file")]
    fn a_key_is_not_quoted(#[case] error: LoadDataError, #[case] says: &str) {
        let error = why(&KubeconfigError::LoadClientKey(error));
        assert!(error.starts_with(says) && !error.contains("hunter"), "{error}");
    }

    /// Not a path, but the kubeconfig itself: a piece between two colons looks like a file's name.
    #[tokio::test]
    async fn a_kubeconfig_in_the_variable_is_not_shown() {
        let pieces = [format!(" {TOKEN}\n- name"), format!(" b\n  {TOKEN}")].map(PathBuf::from);
        for (files, says) in
            [(&pieces[..], "none of them is there"), (&pieces[..1], "failed to read the file that it names")]
        {
            let error = read(files, None, &Proxy::default()).await.unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter"), "{error}");
        }
        let context = Some(TOKEN.to_owned());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "current-context: x\n").unwrap();
        let error = read(&[file.path().to_owned()], context.as_ref(), &Proxy::default()).await.unwrap_err();
        assert!(error.contains("no context of the name in KUBE_CONTEXT") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn a_proxys_password_is_not_in_a_log() {
        let proxy = Proxy { https: Some("http://me:hunter22@p".to_owned()), none_for: None };
        assert_eq!(format!("{proxy:?}"), "Proxy(set)");
    }
}
