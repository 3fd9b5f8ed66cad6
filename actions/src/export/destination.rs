//! Hosts and addresses outside the cluster that may receive data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use super::allowed_host::AllowedHost;
use super::redact_object::HIDDEN;

/// A presigned address. Its query is a credential, and its path may be one: only scheme and host are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadAddress(Uri);

impl std::fmt::Debug for UploadAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl UploadAddress {
    /// Returns the whole address, only for the request.
    pub(super) const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Returns the scheme and the host, and a mark for the rest.
    pub fn shown(&self) -> String {
        let uri = &self.0;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let rest = if uri.path() == "/" && uri.query().is_none() { "" } else { HIDDEN };
        format!("{}://{authority}/{rest}", uri.scheme_str().unwrap_or_default())
    }

    /// Fails with a sentence unless the address is at one of these hosts, and below its path.
    pub fn allowed_by(&self, hosts: &[AllowedHost]) -> std::result::Result<(), String> {
        let host = self.0.authority().map(ToString::to_string).unwrap_or_default();
        if hosts.iter().any(|allowed| allowed.allows(&self.0)) {
            return Ok(());
        }
        Err(if hosts.is_empty() {
            "url: no host may be sent to: the Job names those that may in ACTION_UPLOAD_HOSTS (or the image in its lock)".to_owned()
        } else {
            let scheme = self.0.scheme_str().unwrap_or_default();
            let path = if hosts.iter().any(|allowed| allowed.names_host_of(&self.0)) {
                " with this path (whole parts of it are compared, as they are written)"
            } else {
                ""
            };
            format!(
                "url: {scheme}://{host}{path} is not among the hosts that the Job (ACTION_UPLOAD_HOSTS) or the image allows"
            )
        })
    }
}

impl FromStr for UploadAddress {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let uri: Uri =
            text.parse().map_err(|_| "expected a presigned address, which begins with https://".to_owned())?;
        let web = matches!(uri.scheme_str(), Some("https" | "http"));
        match uri.authority() {
            Some(authority) if web && !authority.as_str().contains('@') => Ok(Self(uri)),
            Some(_) if web => Err("expected an address without user name and password".to_owned()),
            _ => Err("expected an address that begins with https://".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for UploadAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Serializes the address for the result, without a credential.
impl Serialize for UploadAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Returns why nothing may be sent to an address, if so.
pub(super) fn not_public(address: IpAddr) -> Option<&'static str> {
    let v4 = match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(v6) => embedded(v6),
    };
    let metadata = METADATA
        .iter()
        .any(|known| known.parse() == Ok(address) || v4.is_some_and(|v4| known.parse() == Ok(IpAddr::V4(v4))));
    let link_local =
        v4.is_some_and(|v4| v4.is_link_local()) || matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let loopback = address.is_loopback() || v4.is_some_and(|v4| v4.is_loopback());
    let nowhere = address.is_unspecified() || v4.is_some_and(|v4| v4.octets()[0] == 0);
    let many = address.is_multicast() || v4.is_some_and(|v4| v4.is_multicast() || v4.is_broadcast());
    [
        (metadata || link_local, "link-local, or a cloud metadata service"),
        (loopback, "the pod itself"),
        (nowhere, "no address"),
        (many, "a group of hosts"),
    ]
    .into_iter()
    .find_map(|(is, why)| is.then_some(why))
}

/// Metadata services of clouds that are not at link-local addresses: EC2 and GCE over IPv6, Alibaba, Azure.
const METADATA: [&str; 4] = ["fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"];

/// Returns the IPv4 address that an IPv6 address leads to: mapped, compatible, NAT64 (both prefixes) and 6to4.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |segments: [u16; 2]| Ipv4Addr::from((u32::from(segments[0]) << 16) | u32::from(segments[1]));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b]
        | [0x64, 0xff9b, 0, 0, 0, 0, a, b]
        | [0x64, 0xff9b, 1, _, _, _, a, b]
        | [0x2002, a, b, ..] => Some(last([a, b])),
        _ => None,
    }
}
