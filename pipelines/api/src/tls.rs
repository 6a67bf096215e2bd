//! TLS, by a certificate and its key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// What a server shows of itself: TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not there, or not what it should be.
    #[error("{}: {source}; it has to be a PEM file of {what}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// Why it is not.
        source: pem::Error,
    },
    /// Two files that do not fit.
    #[error("{} and {}: {source}; see that the key is the certificate's", .cert.display(), .key.display())]
    Pair {
        /// The certificates.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why they do not.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads a chain of certificates, the server's first, and the key of the first.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or does not fit the other.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let wrong = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(wrong(cert, "certificates"))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(wrong(key, "a private key"))?;
        let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}
