//! Hosts outside the cluster that may receive data, and the part of such a host that may.

use std::str::FromStr;

use http::Uri;

/// A host that logs may be sent to: `host`, `host:port`, or `http://host:port` for one without TLS inside the cluster. With
/// a path behind it (`s3.example.com/our-logs/`) only addresses below that path are meant: an endpoint that many share
/// says with the path whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    host: String,
    port: Option<u16>,
    plain: bool,
    /// Parts of the path; empty for the whole host.
    path: Vec<String>,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a host, host:port or http://host:port, with a path such as /bucket/ behind it if only that part is meant"
                .to_owned()
        };
        let (plain, rest) = text.strip_prefix("http://").map_or((false, text), |rest| (true, rest));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority: http::uri::Authority = host.parse().map_err(|_| wrong())?;
        let host_only = host.len() == authority.host().len();
        if authority.host().is_empty() || host.contains('@') || !(host_only || authority.port_u16().is_some()) {
            return Err(wrong());
        }
        let path = if matches!(path, "" | "/") { Vec::new() } else { parts(path).ok_or_else(wrong)? };
        Ok(Self { host: authority.host().to_lowercase(), port: authority.port_u16(), plain, path })
    }
}

impl AllowedHost {
    /// Returns whether data may be sent to this address.
    pub(super) fn allows(&self, uri: &Uri) -> bool {
        self.names_host_of(uri) && (self.path.is_empty() || self.holds(uri.path()))
    }

    /// Returns whether the address is at this host, wherever there.
    pub(super) fn names_host_of(&self, uri: &Uri) -> bool {
        let plain = uri.scheme_str() == Some("http");
        let usual = if plain { 80 } else { 443 };
        plain == self.plain
            && uri.host().is_some_and(|host| host.to_lowercase() == self.host)
            && uri.port_u16().unwrap_or(usual) == self.port.unwrap_or(usual)
    }

    /// Returns whether a path is below this one: something must stand behind it.
    fn holds(&self, path: &str) -> bool {
        parts(path).is_some_and(|parts| parts.len() > self.path.len() && parts.starts_with(&self.path))
    }
}

/// Returns the parts of a path; `None` where servers do not agree what it means: a part that is empty, that goes up (also
/// in front of a `;`), or that has a dot, a slash, a `%` or a control character in an encoded form.
fn parts(path: &str) -> Option<Vec<String>> {
    const ENCODED: [&str; 5] = ["%2e", "%2f", "%5c", "%25", "%00"];
    let path = path.strip_prefix('/')?;
    let lower = path.to_lowercase();
    if path.contains('\\') || ENCODED.iter().any(|one| lower.contains(one)) {
        return None;
    }
    // What ends with a slash is a folder: the slash adds no part.
    let path = path.strip_suffix('/').unwrap_or(path);
    let bad = |part: &str| matches!(part.split(';').next(), None | Some("" | "." | ".."));
    path.split('/').map(|part| (!bad(part)).then(|| part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use crate::export::destination::{AllowedHost, UploadAddress};
    use rstest::rstest;

    #[rstest]
    #[case("https://s3.example.com/k?X=1", "s3.example.com", true)]
    #[case("https://S3.Example.com:443/k", "s3.example.com", true)]
    #[case("https://s3.example.com:8443/k", "s3.example.com", false)]
    #[case("https://s3.example.com:8443/k", "s3.example.com:8443", true)]
    #[case("http://s3.example.com/k", "s3.example.com", false)]
    #[case("http://minio.minio.svc:9000/k", "http://minio.minio.svc:9000", true)]
    #[case("https://evil.example/s3.example.com", "s3.example.com", false)]
    #[case("https://s3.example.com.evil.example/", "s3.example.com", false)]
    #[case("https://s3.example.com/a//b/../c", "s3.example.com/", true)]
    fn only_the_very_host_is_allowed(#[case] address: &str, #[case] host: &str, #[case] allowed: bool) {
        let address: UploadAddress = address.parse().unwrap();
        assert_eq!(address.allowed_by(&[host.parse().unwrap()]).is_ok(), allowed);
    }

    #[rstest]
    #[case::below("/ours/k?X=1", true)]
    #[case::far_below("/ours/2026/11/k", true)]
    #[case::a_folder("/ours/k/", true)]
    #[case::encoded_otherwise("/ours/a%20b", true)]
    #[case::another("/theirs/k", false)]
    #[case::begins_alike("/ours-too/k", false)]
    #[case::itself("/ours", false)]
    #[case::itself_as_a_folder("/ours/", false)]
    #[case::in_another_case("/Ours/k", false)]
    #[case::up("/ours/../theirs/k", false)]
    #[case::encoded_up("/ours/%2e%2E/theirs/k", false)]
    #[case::half_encoded_up("/ours/.%2e/theirs/k", false)]
    #[case::twice_encoded_up("/ours/%252e%252e/theirs/k", false)]
    #[case::encoded_slash("/ours%2F..%2Ftheirs/k", false)]
    #[case::encoded_backslash("/ours/..%5ctheirs/k", false)]
    #[case::up_with_a_parameter("/ours/..;x/theirs/k", false)]
    #[case::here("/ours/./k", false)]
    #[case::empty_part("//ours/k", false)]
    #[case::empty_part_within("/ours//k", false)]
    #[case::encoded_letter("/%6furs/k", false)]
    fn only_what_is_below_the_path_is_allowed(#[case] path: &str, #[case] allowed: bool) {
        let address: UploadAddress = format!("https://s3.example.com{path}").parse().unwrap();
        for entry in ["s3.example.com/ours/", "s3.example.com/ours", "S3.example.com:443/ours/"] {
            let answer = address.allowed_by(&[entry.parse().unwrap()]);
            assert_eq!(answer.is_ok(), allowed, "{entry}");
            assert!(allowed || answer.unwrap_err().contains("https://s3.example.com with this path"), "{entry}");
        }
        let elsewhere: UploadAddress = format!("https://evil.example{path}").parse().unwrap();
        assert!(elsewhere.allowed_by(&["s3.example.com/ours/".parse().unwrap()]).is_err());
    }

    #[test]
    fn a_bucket_within_the_bucket() {
        let entry: AllowedHost = "s3.example.com/ours/logs/".parse().unwrap();
        let entries = [entry];
        let allows = |address: &str| address.parse::<UploadAddress>().unwrap().allowed_by(&entries).is_ok();
        assert!(allows("https://s3.example.com/ours/logs/k") && !allows("https://s3.example.com/ours/k"));
    }

    #[rstest]
    #[case("h:99999")]
    #[case("h:abc")]
    #[case("h:")]
    #[case("user@h")]
    #[case("https://h")]
    #[case("/x")]
    #[case("h/../x")]
    #[case("h//")]
    #[case("h/a%2fb")]
    fn what_is_no_host_allows_nothing(#[case] text: &str) {
        let error = text.parse::<AllowedHost>().unwrap_err();
        // The value may be an address with a credential in it.
        assert!(!error.contains(text), "{error}");
    }
}
