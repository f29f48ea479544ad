//! `strongroom login --sso`: signing in by a browser. The provider sends it back to a port that is listened at here for
//! this one sign-in; what it brings is good for nothing without a secret that never leaves this program until the server
//! asks for it.

use crate::failure::Told;
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{BeginSignIn, FinishSignIn, Session, SignInBegun};
use clap::Args as ClapArgs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A browser asks within this; some connect ahead of time and say nothing.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// What a browser sends ahead of a page, cookies included, is shorter.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Requests that wait to be looked at: a browser makes a handful.
const WAITING_MAX: usize = 16;
/// As long as a server keeps a sign-in, and some more: whoever has not come back by then does not.
const BACK_WITHIN: Duration = Duration::from_secs(11 * 60);

#[derive(Debug, ClapArgs)]
pub(crate) struct SignOnArgs {
    /// Log in by single sign-on, in a browser on this host.
    #[arg(long, conflicts_with_all = ["password_stdin", "token_stdin", "name"])]
    pub(crate) sso: bool,
    /// Only print the address to be opened; do not start a browser.
    #[arg(long, requires = "sso")]
    no_browser: bool,
    /// The port of this host that the browser is sent back to, where the provider wants it to be always the same, or
    /// where it is forwarded from the host of the browser: `ssh -L PORT:127.0.0.1:PORT`.
    #[arg(long, value_name = "PORT", requires = "sso", default_value_t = 0, hide_default_value = true)]
    sso_port: u16,
}

/// A request of a browser that came back.
struct Came {
    stream: TcpStream,
    /// What it asked for: a path with its values.
    target: String,
}

/// Signs somebody in by a browser.
pub(super) async fn sign_on(client: &Client, args: &SignOnArgs) -> Result<Session> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.sso_port)).await;
    let listener = listener.with_context(|| format!("listen at port {} of this host", args.sso_port))?;
    let here = listener.local_addr().context("listen for the browser")?;
    let verifier = oidc::secret();
    let wish = BeginSignIn { redirect: redirect(here), challenge: oidc::challenge(&verifier) };
    let begun: Option<SignInBegun> = client.send(Method::POST, "/v1/login/sso", &wish).await?;
    let SignInBegun { url, state, .. } = begun.context("the server told nothing of where to sign in")?;
    eprintln!("Sign in at this address, in a browser on this host:\n\n  {url}\n");
    if !args.no_browser {
        open(&url);
    }
    let back = tokio::time::timeout(BACK_WITHIN, come_back(&listener, &state)).await;
    let (mut stream, code) =
        back.map_err(|_| anyhow::anyhow!("nobody came back from the browser in time"))??;
    let answer = FinishSignIn { state, code, verifier };
    let session = client.send::<_, Session>(Method::POST, "/v1/login/sso/finish", &answer).await;
    let told = match &session {
        Ok(_) => "You are signed in. This window is no longer needed.",
        Err(_) => "You are not signed in: the command line says why.",
    };
    reply(&mut stream, "200 OK", told).await;
    session?.context("the server gave no session")
}

fn redirect(here: SocketAddr) -> String {
    format!("http://{here}/")
}

/// Waits until the browser comes back with what this sign-in began with. Gives its connection, which waits for an answer,
/// and the code.
async fn come_back(listener: &TcpListener, state: &str) -> Result<(TcpStream, String)> {
    let (tell, mut came) = mpsc::channel(WAITING_MAX);
    loop {
        let Came { mut stream, target } = tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("listen for the browser")?;
                let tell = tell.clone();
                tokio::spawn(async move {
                    if let Ok(Some(came)) = tokio::time::timeout(ASKED_WITHIN, read(stream)).await {
                        // Nobody waits for it any more: somebody else has come back.
                        let _ = tell.send(came).await;
                    }
                });
                continue;
            }
            one = came.recv() => one.expect("this keeps a sender itself"),
        };
        match back_with(&target, state) {
            Back::Code(code) => return Ok((stream, code)),
            Back::Refused(why) => {
                reply(&mut stream, "200 OK", "You are not signed in: the command line says why.").await;
                return Err(Told::unauthenticated(
                    format!("the provider refused: {why}"),
                    "sign in as somebody else",
                ));
            }
            // The icon of a page; or somebody else's sign-in, which is none of ours to finish.
            Back::Other => reply(&mut stream, "404 Not Found", "There is nothing here.").await,
        }
    }
}

/// What a browser brings back.
#[derive(Debug, PartialEq, Eq)]
enum Back {
    Code(String),
    Refused(String),
    /// Nothing of this sign-in.
    Other,
}

fn back_with(target: &str, state: &str) -> Back {
    let Ok(url) = reqwest::Url::parse(&format!("http://127.0.0.1{target}")) else { return Back::Other };
    let value =
        |name: &str| url.query_pairs().find(|(its, _)| its == name).map(|(_, value)| value.into_owned());
    if url.path() != "/" || value("state").as_deref() != Some(state) {
        return Back::Other;
    }
    match (value("code"), value("error"), value("error_description")) {
        (Some(code), None, _) => Back::Code(code),
        (_, Some(error), why) => {
            Back::Refused(why.unwrap_or(error).chars().filter(|c| !c.is_control()).collect())
        }
        (None, None, _) => Back::Other,
    }
}

/// A request's target, once all of its head has come.
async fn read(mut stream: TcpStream) -> Option<Came> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next()?.to_owned();
    let target = line.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    Some(Came { stream, target })
}

/// A browser that does not wait for its answer is no matter.
async fn reply(stream: &mut TcpStream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Opens an address in the browser of this desktop, if there is one. The address was printed in any case.
fn open(url: &str) {
    let is_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|name| std::env::var_os(name).is_some());
    if is_desktop {
        let mut browser = std::process::Command::new("xdg-open");
        browser.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = browser.spawn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_sign_in_is_finished() {
        let code = |text: &str| Back::Code(text.to_owned());
        assert_eq!(back_with("/?code=a%2Fb&state=mine", "mine"), code("a/b"));
        assert_eq!(back_with("/?state=mine&code=c&iss=https%3A%2F%2Fid", "mine"), code("c"));
        let refused = Back::Refused("not you".to_owned());
        assert_eq!(
            back_with("/?error=access_denied&error_description=not%0A%20you&state=mine", "mine"),
            refused
        );
        for other in
            ["/favicon.ico", "/?code=c&state=yours", "/?code=c", "/?state=mine", "/x?code=c&state=mine", "x"]
        {
            assert_eq!(back_with(other, "mine"), Back::Other, "{other}");
        }
    }

    /// A browser that connects ahead of time and says nothing, and one that asks for an icon, hold up nobody.
    #[tokio::test]
    async fn the_one_who_comes_back_is_found_among_others() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let here = listener.local_addr()?;
        let waiting = tokio::spawn(async move { come_back(&listener, "mine").await });
        let _silent = TcpStream::connect(here).await?;
        let mut icon = TcpStream::connect(here).await?;
        icon.write_all(b"GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut told = String::new();
        icon.read_to_string(&mut told).await?;
        assert!(told.starts_with("HTTP/1.1 404"), "{told}");
        let mut back = TcpStream::connect(here).await?;
        back.write_all(b"GET /?code=c&state=mine HTTP/1.1\r\nHo").await?;
        back.write_all(b"st: x\r\n\r\n").await?;
        assert_eq!(waiting.await??.1, "c");
        Ok(())
    }
}
