//! The server, as far as the loop needs it.

use api::Code;
use api::client::{Client, ClientError, Method};
use api::work::{
    AssignedHost, ClaimRequest, Instruction, Inventory, Order, PictureReport, Report, UsageReport,
};
use async_trait::async_trait;
use model::JobId;
use serde_json::Value;

/// What the loop asks of a server: the client over the wire, or a test that says when to fail.
#[async_trait]
pub trait Server: Send + Sync + 'static {
    /// Something to do, if there is anything within the time that is asked for.
    async fn claim(&self, wish: &ClaimRequest) -> Result<Option<Order>, ClientError>;

    /// Tells of an order; is told whether to go on with it.
    async fn report(&self, job: JobId, report: &Report) -> Result<Instruction, ClientError>;

    /// Sends what the screen of a drill showed.
    async fn picture(&self, job: JobId, report: &PictureReport) -> Result<(), ClientError>;

    /// Sends whose the bytes of a store are.
    async fn usage(&self, job: JobId, report: &UsageReport) -> Result<(), ClientError>;

    /// The hosts whose machines this mover is to tell of.
    async fn hosts(&self) -> Result<Vec<AssignedHost>, ClientError>;

    /// Tells of a host's machines.
    async fn tell(&self, inventory: &Inventory) -> Result<(), ClientError>;

    /// The client for sessions on files. None: there are none.
    fn files(&self) -> Option<Client> {
        None
    }
}

#[async_trait]
impl Server for Client {
    async fn claim(&self, wish: &ClaimRequest) -> Result<Option<Order>, ClientError> {
        self.send(Method::POST, "/v1/work/claim", wish).await
    }

    async fn report(&self, job: JobId, report: &Report) -> Result<Instruction, ClientError> {
        let said = self.send(Method::POST, &format!("/v1/work/{job}/report"), report).await?;
        // An answer without a body instructs nothing: the claim is no longer known there.
        Ok(said.unwrap_or(Instruction::Lost {}))
    }

    async fn picture(&self, job: JobId, report: &PictureReport) -> Result<(), ClientError> {
        self.send::<_, Value>(Method::PUT, &format!("/v1/work/{job}/picture"), report).await.map(drop)
    }

    async fn usage(&self, job: JobId, report: &UsageReport) -> Result<(), ClientError> {
        self.send::<_, Value>(Method::PUT, &format!("/v1/work/{job}/usage"), report).await.map(drop)
    }

    async fn hosts(&self) -> Result<Vec<AssignedHost>, ClientError> {
        self.all("/v1/work/hosts").await
    }

    async fn tell(&self, inventory: &Inventory) -> Result<(), ClientError> {
        self.send::<_, Value>(Method::PUT, "/v1/work/inventory", inventory).await.map(drop)
    }

    fn files(&self) -> Option<Client> {
        Some(self.clone())
    }
}

/// Whether the same question may be answered later.
pub(super) fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(problem) => {
            matches!(
                problem.code,
                Code::Internal | Code::Unavailable | Code::TooManyRequests | Code::UnderWay
            )
        }
        ClientError::Endpoint(_) => false,
    }
}

/// An error with its causes, on one line.
pub(super) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut text = String::new();
    for said in causes.map(ToString::to_string) {
        // A cause that only repeats what stands before it helps nobody.
        if !text.contains(&said) {
            text = if text.is_empty() { said } else { text + ": " + &said };
        }
    }
    text
}
