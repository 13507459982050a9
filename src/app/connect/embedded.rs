//! The embedded service of `--emulator`.
//!
//! Owns its key. Promises: whoever does not know the key gets nothing.

use std::path::{Path, PathBuf};

use crate::emulator::{Emulator, Options};
use crate::error::{Error, Kind};
use crate::state::open::make_folder;

/// Started at any port, its data beside the database, and the only key that it
/// takes. Every program on this machine can reach the port, those of other users as well; the key is
/// made for this process and told nobody.
pub fn beside(database: &Path) -> Result<(Emulator, String), Error> {
    let mut data = database.as_os_str().to_owned();
    data.push(".emulator");
    // On a new machine it comes before the database.
    make_folder(database)?;
    let key = random_key()?;
    let emulator = Emulator::start(Options {
        data: Some(PathBuf::from(data)),
        require_key: Some(key.clone()),
        ..Options::default()
    })?;
    Ok((emulator, key))
}

/// 128 bits that nobody can guess, from the kernel: `fastrand` makes no secrets.
fn random_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::getrandom(&mut bytes).map_err(|e| {
        Error::new(
            Kind::System,
            "embedded service",
            format!("the system has no random key for it: {e}"),
            "start `objlib emulator` and name it with --endpoint",
        )
    })?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// The first line of the answer to a GET.
    fn get(emulator: &Emulator, path: &str, key: &str) -> String {
        let url = emulator.url();
        let host = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nx-goog-api-key: {key}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said.lines().next().unwrap().to_owned()
    }

    #[test]
    fn the_embedded_service_takes_the_key_of_its_process_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (emulator, key) = beside(&dir.path().join("a.db")).unwrap();
        // Its folder is not there yet.
        let (other, other_key) = beside(&dir.path().join("new/folder/b.db")).unwrap();
        let stores = "/v1beta/fileSearchStores";
        assert_eq!(get(&emulator, stores, &key), "HTTP/1.1 200 OK");
        assert_eq!(get(&other, stores, &other_key), "HTTP/1.1 200 OK");
        for wrong in ["emulator", &other_key, &key[1..]] {
            assert_eq!(get(&emulator, stores, wrong), "HTTP/1.1 400 Bad Request");
        }
        assert_eq!(get(&emulator, stores, ""), "HTTP/1.1 403 Forbidden");
        for path in ["/_emulator/ledger", "/_emulator/faults"] {
            assert_eq!(get(&emulator, path, &key), "HTTP/1.1 404 Not Found");
        }
    }
}
