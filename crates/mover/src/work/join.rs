//! How a mover comes by its token.

use api::client::{Client, ClientError, Endpoint, Method};
use api::work::{Join, Joined};
use api::{Code, Problem};

/// Joins a server by a one-time token, which an administrator made there. Gives the mover's own token and host.
///
/// # Errors
/// As [`ClientError`]; `Refused` when the token is not known or was used.
pub async fn join(endpoint: &Endpoint, name: &str, token: &str) -> Result<Joined, ClientError> {
    let client = Client::new(endpoint, None)?;
    let wish = Join { name: name.to_owned(), token: token.to_owned() };
    let joined = client.send(Method::POST, "/v1/movers/join", &wish).await?;
    let empty = || Problem::new(Code::Unavailable, "the server took the mover in and gave it no token");
    joined.ok_or_else(|| ClientError::Refused(Box::new(empty())))
}
