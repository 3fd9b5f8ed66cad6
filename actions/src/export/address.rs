//! Hides the credentials of addresses in messages: a name and password, a query, a path. Presigned addresses and web
//! hooks carry theirs in any of these, so only the scheme and the host stay.

use super::redact_object::HIDDEN;

/// Hides the credentials of addresses in a message, because an error quotes an address that was put into the wrong field
/// or variable.
pub fn hide_in_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, address) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = address
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '`' | '\'' | '<' | '>'))
            .unwrap_or(address.len());
        let (address, after) = address.split_at(end);
        shown.push_str(&only_host(address));
        rest = after;
    }
    shown + rest
}

/// Returns what may be shown of an address behind its scheme.
pub(super) fn only_host(address: &str) -> String {
    let path = address.find(['/', '\\', '?', '#']).unwrap_or(address.len());
    let (authority, path) = address.split_at(path);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A sentence may go on right behind an address.
    let bare = path.trim_end_matches([',', ';', ':', '.', ')', ']', '}']);
    if !is_host(host) || path.contains('@') {
        // A name or password with a slash in it looks like a host and a path.
        HIDDEN.to_owned()
    } else if matches!(bare, "" | "/") {
        format!("{host}{path}")
    } else {
        format!("{host}/{HIDDEN}")
    }
}

/// Returns whether the text is a host name or address, with a port or without one.
fn is_host(text: &str) -> bool {
    let text = text.trim_end_matches([',', ';', ':', '.', ')', '}']);
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '%' | '…');
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => (v6, port.strip_prefix(':').unwrap_or(port)),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let v6 = text.starts_with('[');
    host.chars().all(|c| in_name(c) || v6 && c == ':') && port.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::query("got \"https://b.s3/k?X-Sig=hunter22\", expected", "got \"https://b.s3/[hidden]\", expected")]
    #[case::password("unknown variant `https://me:hunter22@h/x`, x", "unknown variant `https://h/[hidden]`, x")]
    #[case::several("https://h?a=hunter22 https://i/x#hunter22", "https://h/[hidden] https://i/[hidden]")]
    #[case::path(
        "posted to https://hooks.example/services/T0/hunter22: 404",
        "posted to https://hooks.example/[hidden] 404"
    )]
    #[case::slash_in_a_password("https://me:hunt/er22@h/x", "https://[hidden]")]
    #[case::slash_in_digits("https://me:1234/56@h/x", "https://[hidden]")]
    #[case::no_password("https://hunter22@h", "https://h")]
    #[case::jdbc("jdbc:postgresql://db:5432/shop?password=hunter22", "jdbc:postgresql://db:5432/[hidden]")]
    #[case::port("failed to reach https://10.0.0.1:6443/: refused", "failed to reach https://10.0.0.1:6443/: refused")]
    #[case::v6("https://[fd00::1]:6443, and", "https://[fd00::1]:6443, and")]
    #[case::in_brackets("(https://h.example)", "(https://h.example)")]
    #[case::nothing("nothing://", "nothing://")]
    #[case::no_address("deployment shop/web: is it?", "deployment shop/web: is it?")]
    fn an_address_in_a_message_is_its_scheme_and_host(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(hide_in_text(text), shown);
        assert_eq!(hide_in_text(shown), shown, "hiding twice is the same as once");
    }
}
