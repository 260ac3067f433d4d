//! In charge of TLS: what the gateway shows its clients, and whom it believes to be its database.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config;

/// How often the files are looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A certificate and its key, which may be replaced while the gateway runs.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    modified: Modified,
    looked: Instant,
}

type Modified = [Option<SystemTime>; 2];

impl Tls {
    /// None where the gateway is not to speak TLS.
    pub fn new(config: &config::Tls) -> Result<Option<Self>, String> {
        let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
        let modified = modified(cert, key);
        let config = Arc::new(server(cert, key)?);
        let current = Mutex::new(Current { config, modified, looked: Instant::now() });
        Ok(Some(Tls { cert: cert.clone(), key: key.clone(), current }))
    }

    /// For the next connection, with the files as they are now; those that won't do change nothing.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_INTERVAL {
            current.looked = Instant::now();
            self.refresh(&mut current);
        }
        Arc::clone(&current.config).into()
    }

    fn refresh(&self, current: &mut Current) {
        let now = modified(&self.cert, &self.key);
        if now == current.modified {
            return;
        }
        // Also where it fails: it is logged once, and the next change is looked at again.
        current.modified = now;
        match server(&self.cert, &self.key) {
            Ok(config) => {
                tracing::info!("the certificate was read again");
                current.config = Arc::new(config);
            }
            Err(reason) => tracing::error!(reason, "the certificate stays what it was"),
        }
    }
}

fn modified(cert: &Path, key: &Path) -> Modified {
    [cert, key].map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}

fn server(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let certs = certificates(cert)?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("{} has no private key in PEM: {error}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?
        .with_no_client_auth()
        .with_single_cert(certs, key_der)
        .map_err(|error| format!("{} and {}: {error}", cert.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What the database's certificate must lead to.
pub fn client(roots: &Path) -> Result<ClientConfig, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(roots)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", roots.display()))?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error| format!("{} can't be read as PEM: {error}", path.display());
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fault)?.collect();
    let found = found.map_err(fault)?;
    if found.is_empty() {
        return Err(format!("{} has no certificate in PEM", path.display()));
    }
    Ok(found)
}
