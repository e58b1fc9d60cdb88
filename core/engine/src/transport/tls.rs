//! TLS by rustls: what a client trusts and shows, what a server shows and demands.
//!
//! TLS 1.2 and 1.3 only, ALPN `h2` required on both sides, server names checked, no early data.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::TlsIdentity;
use crate::error::Error;
use crate::rt::{BoxIo, Rt};

const ALPN: &[u8] = b"h2";

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(option: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| Error::option(option, format!("is no PEM: {error}")))?;
    if found.is_empty() {
        return Err(Error::option(
            option,
            "holds no PEM certificate (-----BEGIN CERTIFICATE-----)",
        ));
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        Error::option("key", format!("holds no PEM private key (PKCS#8, PKCS#1 or SEC1): {error}"))
    })
}

fn roots(option: &'static str, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(option, pem)? {
        store.add(certificate).map_err(|error| {
            Error::option(option, format!("has an unusable certificate: {error}"))
        })?;
    }
    Ok(store)
}

/// What a client's TLS is made of; all PEM.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsConfig<'a> {
    /// Certificates to trust; `None`: the system's.
    pub ca: Option<&'a [u8]>,
    /// The client's own certificate chain, for mTLS.
    pub cert: Option<&'a [u8]>,
    /// Its private key.
    pub key: Option<&'a [u8]>,
    /// The name to check the server's certificate against, instead of the authority's host.
    pub server_name: Option<&'a str>,
}

/// A client's side of TLS; cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Reads the PEM texts.
    ///
    /// # Errors
    /// Names the option that cannot be used and why; also when the system has no root certificates.
    pub fn new(config: &ClientTlsConfig<'_>) -> Result<ClientTls, Error> {
        let store = match config.ca {
            Some(pem) => roots("ca", pem)?,
            None => {
                let loaded = rustls_native_certs::load_native_certs();
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(loaded.certs);
                if store.is_empty() {
                    return Err(Error::option(
                        "ca",
                        "is not given and the system has no root certificates",
                    ));
                }
                store
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::option("tls", error))?
            .with_root_certificates(store);
        let mut client = match (config.cert, config.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates("cert", cert)?, private_key(key)?)
                .map_err(|error| Error::option("cert", format!("and key do not fit: {error}")))?,
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(Error::option("key", "is missing beside cert")),
            (None, Some(_)) => return Err(Error::option("cert", "is missing beside key")),
        };
        client.alpn_protocols = vec![ALPN.to_vec()];
        let server_name = match config.server_name {
            Some(name) => Some(ServerName::try_from(name.to_owned()).map_err(|_| {
                Error::option("server_name", format!("{name:?} is no DNS name or IP address"))
            })?),
            None => None,
        };
        Ok(ClientTls { connector: TlsConnector::from(Arc::new(client)), server_name })
    }

    /// Shakes hands over `io`; `host` is the authority's host.
    pub(crate) async fn connect(&self, io: BoxIo, host: &str) -> io::Result<BoxIo> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                ServerName::try_from(bare.to_owned()).map_err(|_| {
                    io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!("{host:?} is no name TLS can check"),
                    )
                })?
            }
        };
        let stream = self.connector.connect(name, io).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server did not choose HTTP/2 (ALPN h2), so it speaks no gRPC",
            ));
        }
        Ok(Box::new(stream))
    }
}

/// What a server's TLS is made of; all PEM.
#[derive(Debug, Clone, Default)]
pub struct ServerTlsConfig<'a> {
    /// The server's certificate chain.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// Who may sign clients' certificates. With it a client must show one (mTLS).
    pub client_ca: Option<&'a [u8]>,
    /// Clients without a certificate are let in as well (they have no identity then). Only with `client_ca`.
    pub client_cert_optional: bool,
}

/// A server's side of TLS; cheap to clone.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// Reads the PEM texts.
    ///
    /// # Errors
    /// Names the option that cannot be used and why.
    pub fn new(config: &ServerTlsConfig<'_>) -> Result<ServerTls, Error> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::option("tls", error))?;
        let builder = match config.client_ca {
            Some(pem) => {
                let store = Arc::new(roots("client_ca", pem)?);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(store, provider);
                if config.client_cert_optional {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|error| Error::option("client_ca", error))?,
                )
            }
            None => builder.with_no_client_auth(),
        };
        let mut server = builder
            .with_single_cert(certificates("cert", config.cert)?, private_key(config.key)?)
            .map_err(|error| Error::option("cert", format!("and key do not fit: {error}")))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.max_early_data_size = 0;
        Ok(ServerTls(TlsAcceptor::from(Arc::new(server))))
    }

    /// Shakes hands over `io` within `limit`; gives the encrypted stream and who the client proved to be.
    pub(crate) async fn accept(
        &self,
        rt: &Rt,
        io: BoxIo,
        limit: Duration,
    ) -> io::Result<(BoxIo, Option<Arc<TlsIdentity>>)> {
        let accepting = crate::rt::until(rt.sleep(limit), self.0.accept(io));
        let stream = accepting.await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client does not offer HTTP/2 (ALPN h2)",
            ));
        }
        let identity = session.peer_certificates().map(|chain| Arc::new(identity(chain)));
        Ok((Box::new(stream), identity))
    }
}

fn identity(chain: &[CertificateDer<'_>]) -> TlsIdentity {
    let certificates = chain.iter().map(|c| Bytes::copy_from_slice(c)).collect();
    let names = chain.first().map(|c| super::certificate::names(c)).unwrap_or_default();
    TlsIdentity {
        certificates,
        subject_alternative_names: names.alternative,
        common_name: names.common,
    }
}
