//! Names of secrets: which of the identifiers before a value promise that it is one.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::text::{at, part};

/// How much a name says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// The value is a secret, whatever it looks like: `password`.
    Secret,
    /// The values are secrets, unless they are counts: `tokens`.
    Several,
    /// The value is a secret if it looks made: `session`, `OUR_OWN_KEY`.
    Perhaps,
    /// The value is an `Authorization` header's.
    Authorization,
    /// The value is a header's, up to its end: `Cookie`.
    Header,
}

/// A list that a word stands in, one bit each.
type List = u8;

/// Words that say nothing when they stand last: `password_confirmation`, `token_v2`, `API_KEY_PROD`.
const TRAILER: List = 1;
const TRAILERS: &str = "\
    value val text txt plain plaintext raw string str data base b enc encoded encrypted hash hashed \
    confirmation confirm confirmed again repeat new old current prod production staging stage test dev live \
    primary secondary backup v header param x";

/// Names that are enough by themselves.
const SECRET: List = 2;
const SECRETS: &str = "\
    pass passwd password passphrase passcode passwort pwd pswd psw pw secret token credential credentials creds \
    cred apikey jwt pin otp totp psk sas mnemonic connectionstring pat passkey dpop passe requirepass \
    masterauth primaryauth";

/// The same in the plural, where a number counts them.
const COUNTED: List = 4;
const SEVERAL: &str = "\
    passwords passwds secrets tokens apikeys passphrases pins jwts";

/// Endings of words that were written together: `dbpassword`, `clientsecret`.
const ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "secretkey",
    "privatekey",
    "accesskey",
    "accountkey",
    "authkey",
    "masterkey",
    "signingkey",
    "encryptionkey",
    "credentials",
    "userpass",
    "dbpass",
    "rootpass",
    "adminpass",
    "mysqlpass",
    "smtppass",
    "ftppass",
    "authpass",
    "pgpass",
    "mypass",
    "userpwd",
    "dbpwd",
    "adminpwd",
    "rootpwd",
    "mypwd",
    "storepass",
    "keypass",
    "trustpass",
    "bindpass",
    "ldappass",
    "mailpass",
    "loginpass",
    "securestring",
    "passin",
    "passout",
];

/// Names whose value tells by its looks.
const UNSURE: List = 8;
const PERHAPS: &str = "\
    auth session sessionid sessid phpsessid jsessionid sid sig signature hmac csrf xsrf seed salt bearer encrypt";

/// Words before `key` that make it a secret.
const KEY: List = 16;
const KEYS: &str = "\
    api secret access private priv encryption encrypt decryption signing sign master account shared auth \
    service ssh deploy hmac aes rsa webhook admin subscription license ingest ingestion jwt cipher symmetric \
    functions function unseal recovery preshared wrapping crypt crypto security consumer authentication \
    authorization tls ssl gpg pgp sas integration session wireguard";

/// Words before `key` that say that anybody may know it.
const OPEN_KEY: List = 32;
const OPEN_KEYS: &str = "\
    public pub primary foreign partition cache idempotency sort routing row object index unique group map lock \
    message label annotation registry config lookup range feature field dict composite file hash shard cluster \
    translation publishable metric event host queue topic dedup dedupe tag by translate site duplicate join pod \
    node namespace workqueue property entry column order cursor the no invalid unknown";

/// Words before `token` and `secret` with which those are no credentials.
const OPEN_TOKEN: List = 64;
const OPEN_TOKENS: &str = "\
    next page continue continuation unexpected sync resume max min total num prompt completion input output \
    cached remaining used limit per cancel cancellation fencing syntax pull cursor eos bos pad unk pagination \
    reasoning generated idempotency";

/// Words before `code` with which it opens something.
const CODE: List = 128;
const CODES: &str = "\
    otp mfa verification recovery totp security pin login signin backup scratch passcode access activation invite \
    invitation authorization device sms";

/// Words before the name of a secret with which it is a text's: `forgot_password`.
const TEXTS: [&str; 6] = ["forgot", "forgotten", "lost", "show", "hide", "toggle"];

/// Returns whether a word stands in a list.
fn has(list: List, word: &str) -> bool {
    static LISTS: OnceLock<HashMap<&str, List>> = OnceLock::new();
    let lists = LISTS.get_or_init(|| {
        let all = [
            (TRAILER, TRAILERS),
            (SECRET, SECRETS),
            (COUNTED, SEVERAL),
            (UNSURE, PERHAPS),
            (KEY, KEYS),
            (OPEN_KEY, OPEN_KEYS),
            (OPEN_TOKEN, OPEN_TOKENS),
            (CODE, CODES),
        ];
        let mut lists = HashMap::new();
        for (list, words) in all {
            for word in words.split_ascii_whitespace() {
                *lists.entry(word).or_default() |= list;
            }
        }
        lists
    });
    lists.get(word).is_some_and(|lists| lists & list != 0)
}

fn ends(word: &str) -> bool {
    ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// The longest name that is looked at; of a longer one its end.
const LONGEST: usize = 96;

/// Returns what a name promises.
pub(super) fn says(name: &[u8]) -> Option<Says> {
    let name = part(name, (name.len().saturating_sub(LONGEST), name.len()));
    let lower = name.to_ascii_lowercase();
    let words = words(name, &lower);
    let mut words = words.as_slice();
    while let [rest @ .., last] = words {
        let secure = *last == "string" && rest.last() == Some(&"secure");
        let trails = !rest.is_empty() && (last.is_empty() || has(TRAILER, last) && !secure);
        if !trails {
            break;
        }
        words = rest;
    }
    let (last, rest) = words.split_last()?;
    let before = rest.last().copied().unwrap_or_default();
    of_last(last, before, rest)
}

fn of_last(last: &str, before: &str, rest: &[&str]) -> Option<Says> {
    match last {
        "key" | "keys" | "keyfile" => return key(before, rest),
        "authorization" => return Some(Says::Authorization),
        "cookie" | "cookies" | "setcookie" => return Some(Says::Header),
        "id" if before == "secret" => return Some(Says::Secret),
        "response" | "request" | "art" if before == "saml" => return Some(Says::Perhaps),
        "verifier" if before == "code" => return Some(Says::Perhaps),
        "string" if before == "secure" => return Some(Says::Secret),
        "id" | "identifier" if matches!(before, "session" | "sess") => return Some(Says::Perhaps),
        "code" | "codes" => {
            // Of a grant, if nothing says of what.
            let other = rest.is_empty().then_some(Says::Perhaps);
            return if has(CODE, before) { Some(Says::Secret) } else { other };
        }
        "string" | "str" if before == "connection" => return Some(Says::Perhaps),
        "phrase" if matches!(before, "pass" | "seed" | "recovery" | "mnemonic") => return Some(Says::Secret),
        "words" | "word" if before == "pass" => return Some(Says::Secret),
        "token" | "tokens" | "secret" | "secrets" if has(OPEN_TOKEN, before) => return None,
        // Commands.
        "chpasswd" | "htpasswd" | "kpasswd" | "smbpasswd" | "mkpasswd" | "yppasswd" => return None,
        "pass" | "pw" if matches!(before, "by" | "first" | "second" | "all" | "high" | "low") => return None,
        _ => {}
    }
    if TEXTS.contains(&before) {
        return None;
    }
    if has(SECRET, last) {
        return Some(Says::Secret);
    }
    if has(COUNTED, last) {
        return Some(Says::Several);
    }
    if has(UNSURE, last) {
        return Some(Says::Perhaps);
    }
    let joined = ends(last);
    let counted = last.strip_suffix('s').is_some_and(ends);
    joined.then_some(Says::Secret).or(counted.then_some(Says::Several))
}

fn key(before: &str, rest: &[&str]) -> Option<Says> {
    if before.is_empty() || rest.iter().any(|word| has(OPEN_KEY, word)) {
        return None;
    }
    Some(if has(KEY, before) { Says::Secret } else { Says::Perhaps })
}

/// Splits a name where its punctuation or its capitals do; digits at the end of a word go. Which words there are is asked of
/// the lower case.
fn words<'a>(name: &[u8], lower: &'a [u8]) -> Vec<&'a str> {
    let (mut all, mut start) = (Vec::with_capacity(8), 0);
    let mut push = |from: usize, to: usize| {
        let word = std::str::from_utf8(part(lower, (from, to))).unwrap_or_default();
        if !word.is_empty() {
            all.push(word.trim_end_matches(|c: char| c.is_ascii_digit()));
        }
    };
    for (index, byte) in name.iter().enumerate() {
        let upper = byte.is_ascii_uppercase();
        let hump = upper && index > 0 && {
            let last = at(name, index - 1);
            last.is_ascii_lowercase()
                || last.is_ascii_digit()
                || last.is_ascii_uppercase() && at(name, index + 1).is_ascii_lowercase() && at(name, index + 1) != b's'
        };
        if !byte.is_ascii_alphanumeric() {
            push(start, index);
            start = index + 1;
        } else if hump {
            push(start, index);
            start = index;
        }
    }
    push(start, name.len());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("password", Some(Says::Secret))]
    #[case("DB_PASSWORD", Some(Says::Secret))]
    #[case("spring.datasource.password", Some(Says::Secret))]
    #[case("userPassword2", Some(Says::Secret))]
    #[case("MYSQL_ROOT_PASSWORD_PROD", Some(Says::Secret))]
    #[case("clientsecret", Some(Says::Secret))]
    #[case("APIKey", Some(Says::Secret))]
    #[case("AWS_SECRET_ACCESS_KEY", Some(Says::Secret))]
    #[case("secretKey", Some(Says::Secret))]
    #[case("tokens", Some(Says::Several))]
    #[case("OUR_OWN_KEY", Some(Says::Perhaps))]
    #[case("JSESSIONID", Some(Says::Perhaps))]
    #[case("Proxy-Authorization", Some(Says::Authorization))]
    #[case("Set-Cookie", Some(Says::Header))]
    #[case("code", Some(Says::Perhaps))]
    #[case("backup_code", Some(Says::Secret))]
    #[case("SAMLResponse", Some(Says::Perhaps))]
    #[case("srcstorepass", Some(Says::Secret))]
    #[case("error_code", None)]
    #[case("forgot_password", None)]
    #[case("key", None)]
    #[case("public_key", None)]
    #[case("primaryKey", None)]
    #[case("idempotency-key", None)]
    #[case("keyboard", None)]
    #[case("max_tokens", None)]
    #[case("next_page_token", None)]
    #[case("nextPageToken", None)]
    #[case("password_file", None)]
    #[case("secretName", None)]
    #[case("token_type", None)]
    #[case("authentication.k8s.io", None)]
    #[case("compass", None)]
    #[case("monkey", None)]
    fn tells_what_a_name_promises(#[case] name: &str, #[case] expected: Option<Says>) {
        assert_eq!(says(name.as_bytes()), expected);
    }
}
