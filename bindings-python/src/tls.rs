//! TLS settings in Python: PEM given as bytes, as text, or as the path of a file.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use stubless_engine::transport::tls::{ClientTls, ClientTlsConfig, ServerTls, ServerTlsConfig};

/// PEM: `bytes`, a `str` that holds PEM, or a path (`str` or `os.PathLike`).
fn pem(name: &str, given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<u8>>> {
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(None) };
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec()));
    }
    let path: std::path::PathBuf = match given.cast::<PyString>() {
        Ok(text) if text.to_str()?.contains("-----BEGIN") => {
            return Ok(Some(text.to_str()?.as_bytes().to_vec()));
        }
        Ok(text) => text.to_str()?.into(),
        Err(_) => given.extract().map_err(|_| {
            PyTypeError::new_err(format!(
                "option {name}: PEM as bytes or str, or the path of a PEM file"
            ))
        })?,
    };
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => Err(PyValueError::new_err(format!(
            "option {name}: cannot read {}: {error}",
            path.display()
        ))),
    }
}

/// A client's TLS: whom it trusts and what it shows. `ca`, `cert` and `key` are PEM (bytes, text, or the path of a file);
/// without `ca` the system's roots are trusted; `cert` and `key` together make it mTLS. `server_name` is checked instead
/// of the target's host.
#[pyclass(frozen, module = "stubless", name = "TLS")]
pub(crate) struct Tls(pub(crate) ClientTls);

#[pymethods]
impl Tls {
    #[new]
    #[pyo3(signature = (*, ca = None, cert = None, key = None, server_name = None))]
    fn new(
        ca: Option<&Bound<'_, PyAny>>,
        cert: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        server_name: Option<&str>,
    ) -> PyResult<Tls> {
        let (ca, cert, key) = (pem("ca", ca)?, pem("cert", cert)?, pem("key", key)?);
        let config = ClientTlsConfig {
            ca: ca.as_deref(),
            cert: cert.as_deref(),
            key: key.as_deref(),
            server_name,
        };
        ClientTls::new(&config).map(Tls).map_err(|error| crate::errors::refused(&error))
    }
}

/// A server's TLS: `cert` and `key` are PEM (bytes, text, or the path of a file). With `client_ca` a client must show a
/// certificate signed by it (mTLS), unless `client_cert_optional`.
#[pyclass(frozen, module = "stubless", name = "ServerTLS")]
pub(crate) struct TlsOfServer(pub(crate) ServerTls);

#[pymethods]
impl TlsOfServer {
    #[new]
    #[pyo3(signature = (*, cert, key, client_ca = None, client_cert_optional = false))]
    fn new(
        cert: &Bound<'_, PyAny>,
        key: &Bound<'_, PyAny>,
        client_ca: Option<&Bound<'_, PyAny>>,
        client_cert_optional: bool,
    ) -> PyResult<TlsOfServer> {
        let cert = pem("cert", Some(cert))?.unwrap_or_default();
        let key = pem("key", Some(key))?.unwrap_or_default();
        let client_ca = pem("client_ca", client_ca)?;
        let config = ServerTlsConfig {
            cert: &cert,
            key: &key,
            client_ca: client_ca.as_deref(),
            client_cert_optional,
        };
        ServerTls::new(&config).map(TlsOfServer).map_err(|error| crate::errors::refused(&error))
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Tls>()?;
    m.add_class::<TlsOfServer>()
}
