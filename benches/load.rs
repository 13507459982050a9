//! What the embedded service costs under load: a steady number of requests a second on 8 connections, a third of
//! them uploads of 1 kB in one request, a third looks at operations, a third looks at documents.
//!
//!     cargo bench --bench load                # 1,500 requests a second for 20 s
//!     cargo bench --bench load -- 500 5       # another rate, another time
//!
//! Prints a Markdown table: what was reached, the share of one core, and the peak of memory, from `/proc`.
//! `OBJLIB=PATH` names another program than the one just built.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const CONNECTIONS: u32 = 8;
/// Processor time is counted in hundredths of a second (`USER_HZ`, the same on every Linux machine).
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    // Cargo adds `--bench`.
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let rate: u32 = numbers.next().unwrap_or(1500);
    let seconds: u32 = numbers.next().unwrap_or(20);
    let place = tempfile::tempdir().expect("a temporary folder");
    let data = place.path().join("service.db");
    let data = data.to_str().expect("a path of letters");
    println!(
        "| flags | requests/s | documents | of one core | peak memory |\n| --- | --- | --- | --- | --- |"
    );
    for flags in [&[][..], &["--data", data]] {
        let service = Service::start(flags);
        let before = service.cpu_seconds();
        let began = Instant::now();
        thread::scope(|scope| {
            for n in 0..CONNECTIONS {
                let address = &service.address;
                scope.spawn(move || Client::new(address, n).run(rate, seconds));
            }
        });
        let took = began.elapsed().as_secs_f64();
        let cpu = service.cpu_seconds() - before;
        let sent = rate * seconds / CONNECTIONS * CONNECTIONS;
        println!(
            "| {} | {:.0} | {} | {:.0} % | {:.1} MiB |",
            flags.first().unwrap_or(&"default"),
            f64::from(sent) / took,
            sent / 3,
            100.0 * cpu / took,
            service.peak_mib()
        );
    }
}

/// A program of its own, so that its processor time is its own.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(flags: &[&str]) -> Service {
        let objlib = std::env::var("OBJLIB").unwrap_or(env!("CARGO_BIN_EXE_objlib").to_owned());
        let mut child = Command::new(objlib)
            .args(["emulator", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://");
        Service {
            address: address.expect("an address").to_owned(),
            child,
        }
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("a running process has a stat");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // `utime` and `stime` are fields 14 and 15 (proc_pid_stat(5)); the state, field 3, is the first here.
        let ticks = fields[11..13].iter().map(|n| n.parse().unwrap_or(0.0));
        ticks.sum::<f64>() / TICKS_PER_SECOND
    }

    fn peak_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let words = line.and_then(|line| line.split_whitespace().next());
        words.and_then(|kib| kib.parse().ok()).unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection, with a store of its own.
struct Client<'a> {
    host: &'a str,
    connection: BufReader<TcpStream>,
    store: String,
}

impl Client<'_> {
    fn new(host: &str, n: u32) -> Client<'_> {
        let stream = TcpStream::connect(host).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let mut client = Client {
            host,
            connection: BufReader::new(stream),
            store: String::new(),
        };
        let body = format!(r#"{{"displayName": "store {n}"}}"#);
        let made = client.call("POST", "v1beta/fileSearchStores", "", &body);
        client.store = made["name"].as_str().expect("a name").to_owned();
        client
    }

    fn run(mut self, rate: u32, seconds: u32) {
        let began = Instant::now();
        let mut operation = Value::Null;
        for n in 0..rate * seconds / CONNECTIONS {
            // Each connection has its share of the rate; one that is late makes up for it.
            let due = Duration::from_secs_f64(f64::from(n * CONNECTIONS) / f64::from(rate));
            thread::sleep(due.saturating_sub(began.elapsed()));
            let name = |name: &Value| format!("v1beta/{}", name.as_str().expect("a name"));
            match n % 3 {
                0 => operation = self.upload(n),
                1 => drop(self.call("GET", &name(&operation["name"]), "", "")),
                _ => {
                    let document = name(&operation["response"]["documentName"]);
                    self.call("GET", &document, "", "");
                }
            }
        }
    }

    fn upload(&mut self, n: u32) -> Value {
        let words = "some words of a note ".repeat(48);
        let body = format!(
            "--B\r\nContent-Type: application/json\r\n\r\n{{\"displayName\": \"note-{n}.md\"}}\r\n\
             --B\r\nContent-Type: text/markdown\r\n\r\n# Note {n}\n\n{words}\r\n--B--\r\n"
        );
        let headers =
            "X-Goog-Upload-Protocol: multipart\r\nContent-Type: multipart/related; boundary=B\r\n";
        let path = format!("upload/v1beta/{}:uploadToFileSearchStore", self.store);
        self.call("POST", &path, headers, &body)
    }

    fn call(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Value {
        let request = format!(
            "{method} /{path} HTTP/1.1\r\nHost: {}\r\nx-goog-api-key: k\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let to = self.connection.get_mut();
        to.write_all(request.as_bytes()).expect("it is sent");
        let mut length = 0;
        let mut line = String::new();
        self.connection.read_line(&mut line).expect("an answer");
        assert!(line.contains(" 200 "), "{method} {path}: {line}");
        while line != "\r\n" {
            line.clear();
            self.connection.read_line(&mut line).expect("a header");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut answer = vec![0; length];
        self.connection.read_exact(&mut answer).expect("a body");
        serde_json::from_slice(&answer).expect("JSON")
    }
}
