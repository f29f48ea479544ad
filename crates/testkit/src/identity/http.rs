//! As much of HTTP as a provider and a browser need on the loopback.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Whoever connects says something by then.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A browser gives up where it is led in circles.
const REDIRECTS_MAX: usize = 5;

/// A request.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: String,
    /// Of the address and of the body.
    pub(super) values: HashMap<String, String>,
}

/// An answer.
pub(super) struct Answered {
    status: u16,
    location: Option<String>,
    body: String,
}

impl Answered {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, location: None, body: body.to_string() }
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self { status: 302, location: Some(to.to_owned()), body: String::new() }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status
    }
}

/// Answers one connection after the other, each once, for ever.
pub(super) fn serve(listener: &TcpListener, mut answer: impl FnMut(&Asked) -> Answered) {
    for stream in listener.incoming() {
        // A client that goes away in the middle is its own affair.
        let _ = stream.context("accept").and_then(|stream| speak(stream, &mut answer));
    }
}

fn speak(stream: TcpStream, answer: &mut impl FnMut(&Asked) -> Answered) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).context("a request line")?.to_owned();
    let (mut asked, mut length) = (Asked::default(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "authorization" => value.trim().clone_into(&mut asked.authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    path.clone_into(&mut asked.path);
    asked.values = read_form(query);
    asked.values.extend(read_form(&String::from_utf8(body)?));
    let Answered { status, location, body } = answer(&asked);
    let location = location.map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
    let head =
        format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nConnection: close\r\n{location}");
    let mut stream = reader.into_inner();
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    Ok(())
}

/// Opens an address as a browser does, and goes where it is sent, as long as that is on the loopback. Gives the address
/// where it ends.
pub fn browse(address: &str) -> Result<String> {
    let mut address = address.to_owned();
    for _ in 0..REDIRECTS_MAX {
        let is_here = ["http://127.0.0.1:", "http://[::1]:"].iter().any(|here| address.starts_with(here));
        if !is_here {
            return Ok(address);
        }
        match open(&address, None)? {
            Some(next) => address = next,
            None => return Ok(address),
        }
    }
    anyhow::bail!("led in circles, and last to {address}")
}

/// Where an address leads to, if anywhere; with a form that was filled in, if there is one.
pub(super) fn open(address: &str, form: Option<&str>) -> Result<Option<String>> {
    let rest = address.strip_prefix("http://").context("an address")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).with_context(|| format!("open {address}"))?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let (method, body) = form.map_or(("GET", ""), |form| ("POST", form));
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{kind}\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers =
        answer.lines().skip(1).take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    if status.starts_with('3') {
        let location = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"));
        return Ok(location.map(|(_, to)| to.trim().to_owned()));
    }
    ensure!(status.starts_with('2'), "{address} answers {answer}");
    Ok(None)
}

/// Values as forms carry them.
pub(super) fn form(values: &[(&str, &str)]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let escaped = |text: &str| text.bytes().map(escape).collect::<String>();
    let pairs: Vec<_> =
        values.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}

pub(super) fn read_form(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unescaped(name), unescaped(value))).collect()
}

pub(super) fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        let hex = (byte == b'%').then(|| rest.get(..2)).flatten();
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = &rest[2..];
            }
            (b'+', None) => bytes.push(b' '),
            (byte, None) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
