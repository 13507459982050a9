//! The bytes of one connection, plain or over TLS.
//!
//! Owns the certificate and its key. Promises: what is wrong with them is said before anything is listened on; a
//! connection that was ended on purpose tells a TLS client that nothing was cut off.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::error::{Error, Kind};

/// The first byte of every TLS connection, and of no HTTP request: a record of the handshake.
const HANDSHAKE: u8 = 22;

/// A certificate and its private key. Neither is shown by `Debug`.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Two PEM files, or one for both: the certificate, and behind it those that signed it; its key, not encrypted.
    ///
    /// # Errors
    /// One of them cannot be read or used, or they do not belong together.
    pub fn of(certificate: &Path, key: &Path) -> Result<Tls, Error> {
        let bad_certificate = |why: String| {
            let what = format!("--tls-cert {}", certificate.display());
            let remedy = "name a PEM file with the certificate, and behind it those that signed it";
            Error::new(Kind::Usage, what, why, remedy)
        };
        let bad_key = |why: &str| {
            let what = format!("--tls-key {}", key.display());
            let remedy = "name a PEM file with the certificate's private key; `openssl pkey -in FILE` decrypts one";
            Error::new(Kind::Usage, what, why, remedy)
        };
        let pem = std::fs::read(certificate)
            .map_err(|e| bad_certificate(format!("cannot be read: {e}")))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|e| bad_certificate(format!("is damaged: {e}")))?;
        if chain.is_empty() {
            return Err(bad_certificate("holds no certificate".to_owned()));
        }
        let pem = std::fs::read(key).map_err(|e| bad_key(&format!("cannot be read: {e}")))?;
        let private = PrivateKeyDer::from_pem_slice(&pem);
        // Said so by the format of our days in its first line, and by the older one in its second.
        if pem.windows(9).any(|word| word == b"ENCRYPTED") {
            return Err(bad_key("is encrypted"));
        }
        let private = private.map_err(|_| bad_key("holds no private key that can be read"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_no_client_auth();
                builder.with_single_cert(chain, private)
            });
        match config {
            Ok(config) => Ok(Tls(Arc::new(config))),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(bad_key("is not the key of the certificate"))
            }
            Err(rustls::Error::InvalidCertificate(e)) => {
                Err(bad_certificate(format!("cannot be used: {e:?}")))
            }
            Err(e) => Err(bad_key(&format!("cannot be used: {e}"))),
        }
    }
}

/// One end of a connection, that whoever accepted it can still shut down.
pub struct Socket(pub Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(out)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection.
pub enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    /// `None`: the client does not speak TLS. Waits for its first byte.
    pub fn secured(socket: &Arc<TcpStream>, tls: &Tls) -> io::Result<Option<Stream>> {
        let mut first = [0];
        if socket.peek(&mut first)? == 1 && first[0] != HANDSHAKE {
            return Ok(None);
        }
        let connection = ServerConnection::new(Arc::clone(&tls.0)).map_err(io::Error::other)?;
        let socket = Socket(Arc::clone(socket));
        Ok(Some(Stream::Tls(Box::new(StreamOwned::new(
            connection, socket,
        )))))
    }

    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => &socket.0,
            Stream::Tls(stream) => &stream.sock.0,
        }
    }

    /// Nothing more is sent.
    pub fn end(&mut self) {
        if let Stream::Tls(stream) = self {
            stream.conn.send_close_notify();
            // Whoever is gone need not be told.
            let _ = stream.conn.write_tls(&mut stream.sock);
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(out),
            Stream::Tls(stream) => stream.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
