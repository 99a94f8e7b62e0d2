//! A peer that answers as it is told: what no gateway does, a network or a proxy may.
//!
//! Owns a listener on a port of its own. Each connection gets the next part of the script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What is done with one connection.
pub(crate) enum Part {
    /// Read the whole request, answer with these bytes, close.
    Answer(Vec<u8>),
    /// Read the head of the request, tell the test, and never answer.
    Hold,
    /// Read the whole request and close.
    HangUp,
    /// Read the head of the request, and answer byte after byte, each as soon as there is room for it, for as long as
    /// somebody listens: the client never waits for one.
    Drip,
}

pub(crate) struct Peer {
    pub(crate) url: String,
    /// The head of each request.
    pub(crate) heads: Receiver<String>,
}

impl Peer {
    pub(crate) fn start(script: Vec<Part>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (sender, heads) = channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for part in script {
                let (stream, _) = listener.accept().expect("a connection");
                held.extend(play(stream, part, &sender));
            }
            // Whoever comes now waits as long as the test: the script has to be long enough.
            drop(listener);
            // Held connections stay open until the process ends.
            std::mem::forget(held);
        });
        Self { url, heads }
    }
}

fn play(stream: TcpStream, part: Part, heads: &Sender<String>) -> Option<TcpStream> {
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    let _ = heads.send(head.clone());
    let mut stream = stream;
    match part {
        Part::Hold => return Some(stream),
        Part::HangUp => read_body(&mut reader, &head),
        Part::Drip => {
            let head =
                "HTTP/1.1 200 OK\r\nFaam-Invocation-Id: 0\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("sent");
            while stream.write_all(b"1\r\nx\r\n").is_ok() {}
        }
        Part::Answer(bytes) => {
            read_body(&mut reader, &head);
            stream.write_all(&bytes).expect("sent");
        }
    }
    None
}

fn read_body(reader: &mut impl BufRead, head: &str) {
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
    if let Some(length) = length {
        std::io::copy(&mut reader.take(length), &mut std::io::sink()).expect("a body");
        return;
    }
    while head.contains("transfer-encoding: chunked") {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a chunk's length");
        let bytes = u64::from_str_radix(line.trim(), 16).expect("hexadecimal");
        std::io::copy(&mut reader.take(bytes + 2), &mut std::io::sink()).expect("a chunk");
        if bytes == 0 {
            return;
        }
    }
}

/// A whole answer with these headers.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A refusal as a gateway words it.
pub(crate) fn problem(status: &str, name: &str, headers: &str) -> Vec<u8> {
    let body = format!(r#"{{"type":"/problems/{name}","detail":"the peer says {name}"}}"#);
    let headers = format!("Content-Type: application/problem+json\r\n{headers}");
    answer(status, &headers, body.as_bytes())
}
