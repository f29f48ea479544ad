//! Reaching the server that is meant: by the environment, by a context that is named, by the current one.

use super::contexts::{self, Contexts, Saved};
use crate::failure::Told;
use anyhow::{Context as _, Result};
use api::client::{Client, Endpoint};

/// What the environment says of a server.
#[derive(Default)]
struct Surroundings {
    server: Option<String>,
    token: Option<String>,
    certificate: Option<String>,
}

impl Surroundings {
    fn read() -> Result<Self> {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let certificate = text("STRONGROOM_CERTIFICATE");
        let certificate = certificate.map(|path| {
            std::fs::read_to_string(&path).with_context(|| format!("read the certificate {path}"))
        });
        let certificate = certificate.transpose()?;
        Ok(Self { server: text("STRONGROOM_SERVER"), token: text("STRONGROOM_TOKEN"), certificate })
    }
}

/// A client of the server that is meant, as who is logged in there.
pub(crate) fn client(context: Option<&str>) -> Result<Client> {
    let contexts = Contexts::read(&contexts::path())?;
    let saved = meant(&contexts, context, Surroundings::read()?)?;
    if saved.token.is_none() {
        let what = format!("nobody is logged in to {}", saved.url);
        return Err(Told::unauthenticated(what, "`strongroom login`"));
    }
    connect(&saved)
}

/// A client of a server, whoever asks.
pub(super) fn connect(saved: &Saved) -> Result<Client> {
    let endpoint = Endpoint { url: saved.url.clone(), certificate: saved.certificate.clone() };
    Ok(Client::new(&endpoint, saved.token.clone())?)
}

/// The environment's word counts most. A server it names is trusted as the context of that server says.
fn meant(contexts: &Contexts, context: Option<&str>, said: Surroundings) -> Result<Saved> {
    let mut saved = match said.server {
        Some(url) => {
            let known = contexts.contexts.values().find(|saved| saved.url == url).cloned();
            known.unwrap_or_else(|| Saved { url, ..Saved::default() })
        }
        None => contexts.named(context)?.1.clone(),
    };
    saved.token = said.token.or(saved.token);
    saved.certificate = said.certificate.or(saved.certificate);
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let mut contexts = Contexts::default();
        for name in ["home", "work"] {
            let token = Some(format!("token of {name}"));
            let certificate = Some(format!("certificate of {name}"));
            let url = format!("https://{name}:8700");
            contexts.save(name, Saved { url, certificate, token, ..Saved::default() });
        }
        contexts
    }

    fn told(context: Option<&str>, said: Surroundings) -> [String; 3] {
        let saved = meant(&contexts(), context, said).expect("one is meant");
        [saved.url, saved.token.unwrap_or_default(), saved.certificate.unwrap_or_default()]
    }

    #[test]
    fn the_environment_comes_before_contexts() {
        let none = Surroundings::default;
        assert_eq!(told(None, none())[0], "https://work:8700");
        assert_eq!(told(Some("home"), none())[1], "token of home");
        let token = || Some("other".to_owned());
        assert_eq!(told(Some("home"), Surroundings { token: token(), ..none() })[1], "other");
        let server = |url: &str| Surroundings { server: Some(url.to_owned()), ..none() };
        let known = told(None, server("https://home:8700"));
        assert_eq!(known, ["https://home:8700", "token of home", "certificate of home"]);
        let strange = Surroundings { token: token(), ..server("https://elsewhere") };
        assert_eq!(told(None, strange), ["https://elsewhere", "other", ""], "no token goes to a stranger");
    }
}
