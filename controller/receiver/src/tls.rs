//! TLS, if the program is to speak it itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Certificate and key. The files are read for each connection, so that they can be renewed; while they do not fit each
/// other, or cannot be read, the last ones that did are used.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    last: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Takes the files, once they hold a certificate and its key.
    pub fn new(certificate: &Path, key: &Path) -> Result<Self, String> {
        let last = Mutex::new(Arc::new(read(certificate, key)?));
        Ok(Self { certificate: certificate.to_path_buf(), key: key.to_path_buf(), last })
    }

    /// Returns what accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let read = read(&self.certificate, &self.key);
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match read {
            Ok(config) => *last = Arc::new(config),
            Err(error) => tracing::warn!(error, "the certificate of before is used"),
        }
        TlsAcceptor::from(last.clone())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    let wrong = |flag: &str, path: &Path, error: String| format!("{flag}: {}: {error}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong("--tls-cert", certificate, why(&error)))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("--tls-key", key, why(&error)))?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| wrong("--tls-cert", certificate, format!("does not fit --tls-key: {error}")))
}

/// Returns why a file is not PEM, without the line that the parser quotes: it may be the key.
fn why(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "expected PEM, holds none".to_owned(),
        _ => "not valid PEM (whose first and last lines stand by themselves)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line breaks were lost on the way, as they are in an environment variable.
    #[test]
    fn a_broken_key_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let whole = made.signing_key.serialize_pem();
        std::fs::write(&key, &whole).unwrap();
        assert!(Tls::new(&certificate, &key).is_ok());
        for broken in [
            whole.replace('\n', " "),
            whole.replace("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY "),
            "hunter22".to_owned(),
        ] {
            std::fs::write(&key, &broken).unwrap();
            let error = Tls::new(&certificate, &key).unwrap_err();
            assert!(error.starts_with("--tls-key: ") && error.contains("PEM"), "{error}");
            // Neither as text nor as the numbers of its bytes.
            let quoted = whole.lines().any(|line| error.contains(line)) || error.contains("45, 45");
            assert!(!quoted && !error.contains("hunter22") && error.len() < 200, "{error}");
        }
    }
}
