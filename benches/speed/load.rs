//! A raw load generator: the same requests as an upload of small files in one request each, looks by pages
//! included, without a database, a scan or a digest; what a client could reach at best.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use super::service::Folder;

/// Files a second of `workers` connections that look at a page so often in all, among the uploads.
pub fn files_a_second(
    url: &str,
    store: &str,
    (folder, looks): (&Folder, usize),
    workers: usize,
) -> f64 {
    let address = url.strip_prefix("http://").expect("an address");
    let look = format!(
        "GET /v1beta/{store}/documents?pageSize=20 HTTP/1.1\r\nHost: {address}\r\n\
         x-goog-api-key: a-key-of-nobody\r\n\r\n"
    );
    let mut requests = Vec::new();
    let mut looked = 0;
    for (sent, path) in walk(folder).into_iter().enumerate() {
        requests.push(request(address, store, &path));
        while looked * folder.files < looks * (sent + 1) {
            requests.push(look.clone().into_bytes());
            looked += 1;
        }
    }
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut connection = TcpStream::connect(address).expect("a connection");
                connection.set_nodelay(true).expect("no delay");
                while let Some(request) = requests.get(next.fetch_add(1, Relaxed)) {
                    connection.write_all(request).expect("it is sent");
                    answer(&mut connection);
                }
            });
        }
    });
    folder.files as f64 / began.elapsed().as_secs_f64()
}

fn walk(folder: &Folder) -> Vec<std::path::PathBuf> {
    let parts = std::fs::read_dir(folder.docs()).expect("folders");
    parts
        .flat_map(|part| std::fs::read_dir(part.expect("a folder").path()).expect("files"))
        .map(|file| file.expect("a file").path())
        .collect()
}

fn request(host: &str, store: &str, path: &std::path::Path) -> Vec<u8> {
    const BOUNDARY: &str = "a-boundary-that-no-file-of-this-bench-holds";
    let metadata = serde_json::json!({
        "displayName": path.display().to_string(),
        "customMetadata": [
            {"key": "objlib_library", "stringValue": "docs"},
            {"key": "objlib_path", "stringValue": path.display().to_string()},
            {"key": "objlib_sha256", "stringValue": "0".repeat(64)},
        ]
    });
    let text = std::fs::read(path).expect("a file");
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{metadata}\r\n\
         --{BOUNDARY}\r\nContent-Type: text/markdown\r\n\r\n"
    )
    .into_bytes();
    body.extend(text);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    let mut request = format!(
        "POST /upload/v1beta/{store}:uploadToFileSearchStore HTTP/1.1\r\nHost: {host}\r\n\
         x-goog-api-key: a-key-of-nobody\r\nX-Goog-Upload-Protocol: multipart\r\n\
         Content-Type: multipart/related; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

/// Reads one answer with a length whole.
fn answer(connection: &mut TcpStream) {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        let n = connection.read(&mut block).expect("an answer");
        assert!(n > 0, "the service closed the connection");
        bytes.extend(&block[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length:")
                    .map(str::to_owned)
            })
            .and_then(|n| n.trim().parse::<usize>().ok())
            .expect("a length");
        if body.len() >= length {
            assert!(head.contains(" 200 "), "{text}");
            return;
        }
    }
}
