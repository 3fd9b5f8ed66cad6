//! Tells why credentials cannot be used. Never quotes them: not a token, not the output of a login plugin, and no file's
//! name, which may be the token in the wrong field.

use http::HeaderValue;
use kube::client::AuthError;
use kube::config::AuthInfo;
use serde_json::Value;

/// Begins the error of a request whose credentials could not be renewed.
pub(super) const FAILED: &str = "the credentials cannot be used";

/// Said of a token that no HTTP header may have.
const UNSENDABLE: &str = "holds a line break or another control character, which no HTTP header may have; write the token \
                          without it (into a file: printf %s \"$TOKEN\")";

/// Said of a login plugin.
const PLUGIN: &str =
    "its login plugin failed; run it by hand to see why (its output may hold a token, and is not shown)";

/// Fails with a sentence when the token that a user logs in with cannot be sent: kube's client would panic, or fail at
/// every request.
pub(super) fn check(user: &AuthInfo, in_cluster: bool) -> Result<(), String> {
    let sendable = |place: &str, token: &str| match HeaderValue::from_str(token) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{place} {UNSENDABLE}")),
    };
    // In the order in which kube looks for credentials.
    if let Some(provider) = &user.auth_provider {
        if !matches!(provider.name.as_str(), "oidc" | "gcp") {
            return Err(
                "KUBECONFIG: the user's auth-provider is not supported (Kubernetes 1.26 dropped them): use exec or a token"
                    .to_owned(),
            );
        }
        let field = |name: &str| match provider.config.get(name) {
            Some(token) => sendable(&format!("KUBECONFIG: {name} of the user's auth-provider"), token),
            None => Ok(()),
        };
        return field("id-token").and_then(|()| field("access-token"));
    }
    // The token's own type shows it only to who serializes it.
    let fields = serde_json::to_value(user).unwrap_or_default();
    let is_set = |field: &str| fields.get(field).is_some_and(Value::is_string);
    if is_set("username") && is_set("password") {
        return Ok(());
    }
    if let Some(token) = fields.get("token").and_then(Value::as_str) {
        return sendable("KUBECONFIG: the user's token", token);
    }
    let place = if in_cluster {
        "the pod's ServiceAccount token"
    } else {
        "KUBECONFIG: the file that the user's tokenFile names"
    };
    // One that cannot be read is kube's error.
    let file = user.token_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    file.map_or(Ok(()), |token| sendable(place, &token))
}

/// Returns why credentials could not be had.
pub(super) fn why(error: &AuthError) -> String {
    match error {
        AuthError::InvalidBasicAuth(_) => "the user's name or password holds a control character".to_owned(),
        AuthError::InvalidBearerToken(_) => format!("the user's token {UNSENDABLE}"),
        AuthError::ReadTokenFile(error, _) => format!("tokenFile: failed to read the file that it names: {error}"),
        AuthError::AuthExecStart(error) => format!("its login plugin could not be started: {error}"),
        AuthError::MissingCommand | AuthError::ExecMissingClusterInfo | AuthError::NoValidNativeRootCA(_) => {
            error.to_string()
        }
        AuthError::AuthExec(_)
        | AuthError::AuthExecParse(_)
        | AuthError::AuthExecRun { .. }
        | AuthError::AuthExecSerialize(_)
        | AuthError::ExecPluginFailed
        | AuthError::MalformedTokenExpirationDate(_)
        | AuthError::ParseTokenKey(_)
        | AuthError::UnrefreshableTokenResponse => PLUGIN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn user(fields: Value) -> AuthInfo {
        serde_json::from_value(fields).unwrap()
    }

    #[rstest]
    #[case::token(json!({ "token": "hunter22\n" }), "KUBECONFIG: the user's token holds a line break")]
    #[case::within(json!({ "token": "hunt\u{1b}er22" }), "KUBECONFIG: the user's token holds a line break")]
    #[case::provider(json!({ "auth-provider": { "name": "oidc", "config": { "id-token": "hunter22\n" } } }), "KUBECONFIG: id-token of the user's auth-provider holds")]
    #[case::gcp(json!({ "auth-provider": { "name": "gcp", "config": { "access-token": "hunter22\n" } } }), "KUBECONFIG: access-token of")]
    #[case::unsupported(json!({ "auth-provider": { "name": "hunter22" } }), "auth-provider is not supported")]
    fn a_token_that_cannot_be_sent_is_told_by_its_place(#[case] fields: Value, #[case] says: &str) {
        let error = check(&user(fields), false).unwrap_err();
        assert!(error.contains(says) && !error.contains("hunt"), "{error}");
    }

    #[test]
    fn one_in_a_file_is_looked_at_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter22\n").unwrap();
        let fields = json!({ "tokenFile": file.display().to_string() });
        let errors = [true, false].map(|in_cluster| check(&user(fields.clone()), in_cluster).unwrap_err());
        std::fs::write(&file, "hunter22").unwrap();
        let good = check(&user(fields), false);
        assert!(errors[0].starts_with("the pod's ServiceAccount token holds"), "{errors:?}");
        assert!(errors[1].starts_with("KUBECONFIG: the file that the user's tokenFile names holds"), "{errors:?}");
        assert!(!errors.concat().contains("hunter22"), "{errors:?}");
        assert_eq!(good, Ok(()));
    }

    #[rstest]
    #[case::none(json!({}))]
    #[case::token(json!({ "token": "abc.def-é" }))]
    #[case::password(json!({ "username": "a", "password": "b\n", "token": "not used\n" }))]
    #[case::no_such_file(json!({ "tokenFile": "/no/such/file" }))]
    fn the_others_pass(#[case] fields: Value) {
        assert_eq!(check(&user(fields), false), Ok(()));
    }
}
