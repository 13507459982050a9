use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server that answers as a test tells it to, and remembers what it was asked.
pub struct Scripted {
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone)]
pub struct Request {
    pub line: String,
    pub head: String,
    pub body: Vec<u8>,
}

type Answers = dyn Fn(&Request, &mut TcpStream) + Send + Sync;

impl Scripted {
    pub fn start(answers: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, answers): (_, Arc<Answers>) = (Arc::clone(&seen), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (all, answers) = (Arc::clone(&all), Arc::clone(&answers));
                thread::spawn(move || {
                    let mut stream = stream;
                    while let Some(request) = read(&stream) {
                        all.lock().unwrap().push(request.clone());
                        answers(&request, &mut stream);
                    }
                });
            }
        });
        Scripted { url, seen }
    }

    pub fn requests(&self, start: &str) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|r| r.line.starts_with(start))
            .cloned()
            .collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let before = head.len();
        reader.read_line(&mut head).ok()?;
        match &head[before..] {
            "" => return None,
            "\r\n" => break,
            _ => {}
        }
    }
    let length = header(&head, "content-length").and_then(|n| n.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = head.lines().next()?.to_owned();
    Some(Request { line, head, body })
}

pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub fn send(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let length = body.len();
    // In one write: the second of two would wait for the client's word that the first has come.
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}

pub fn is_one_request(request: &Request) -> bool {
    header(&request.head, "x-goog-upload-protocol") == Some("multipart")
}

/// A service that takes no upload in one request, so that every file goes by a session. Whether it was one.
pub fn refuses_one_request(request: &Request, stream: &mut TcpStream) -> bool {
    let refuses = is_one_request(request);
    if refuses {
        let refusal = r#"{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}"#;
        send(stream, 400, "", refusal);
    }
    refuses
}
