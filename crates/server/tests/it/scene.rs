//! A service over an empty catalog, and how it is asked.

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use catalog::{Catalog, VaultRow};
use control::{Control, Settings};
use jiff::{SignedDuration, Timestamp};
use model::VaultId;
use model::schedule::Limits;
use serde_json::{Value, json};
use server::{App, router};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

/// Nothing runs here.
const LIMITS: Limits = Limits { per_host: 1, per_store: 1, overall: 1 };

/// A service whose clock stands until it is moved.
pub(crate) struct Scene {
    pub(crate) control: Control,
    pub(crate) folder: TempDir,
    router: Router,
    clock: Arc<AtomicI64>,
    /// By so much it goes on with every look.
    tick: Arc<AtomicI64>,
}

/// A request.
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Scene {
    pub(crate) async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let catalog = Catalog::open_file(&folder.path().join("catalog.db")).await?;
        Ok(Self::over(catalog, folder))
    }

    /// Over a catalog that somebody has made.
    pub(crate) fn over(catalog: Catalog, folder: TempDir) -> Self {
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000_000));
        let tick = Arc::new(AtomicI64::new(0));
        let (told, ticks) = (Arc::clone(&clock), Arc::clone(&tick));
        let now = move || {
            let micros = told.fetch_add(ticks.load(Ordering::SeqCst), Ordering::SeqCst);
            Timestamp::from_microsecond(micros).expect("an instant")
        };
        let settings = Settings { data: folder.path().to_owned(), limits: LIMITS };
        let control = Control::new(catalog, settings, Arc::new(now), Arc::new(Uuid::now_v7));
        let router = router(App::new(control.clone()));
        Self { control, folder, router, clock, tick }
    }

    /// With another service in place of this, over the same catalog.
    pub(crate) fn changed(self, change: impl FnOnce(Control) -> Control) -> Self {
        let control = change(self.control);
        let router = router(App::new(control.clone()));
        Self { control, router, ..self }
    }

    /// A service with an owner of everything, signed in.
    pub(crate) async fn with_owner() -> Result<(Self, String)> {
        let scene = Self::new().await?;
        let password = scene.control.create_first_administrator("admin").await?;
        let token = scene.sign_in("admin", &password).await?;
        Ok((scene, token))
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: SignedDuration) {
        self.clock.fetch_add(i64::try_from(time.as_micros()).expect("not for ever"), Ordering::SeqCst);
    }

    /// From now on each look at the clock takes 20 ms.
    pub(crate) fn tick(&self) {
        self.tick.store(20_000, Ordering::SeqCst);
    }

    pub(crate) async fn sign_in(&self, name: &str, password: &str) -> Result<String> {
        let answered = self.ask(Ask::post("/v1/login", json!({ "name": name, "password": password }))).await;
        Ok(answered.json()["token"].as_str().with_context(|| format!("{answered:?}"))?.to_owned())
    }

    /// A user with these roles (`[{"role": ..., "vault": ...}]`), made by somebody, and a session of it.
    pub(crate) async fn user(&self, by: &str, name: &str, roles: Value) -> Result<(Uuid, String)> {
        let new = json!({ "name": name, "password": "correct horse battery", "roles": roles });
        let made = self.ask(Ask::post("/v1/users", new).token(by)).await;
        let id = made.json()["id"].as_str().with_context(|| format!("{made:?}"))?.parse()?;
        Ok((id, self.sign_in(name, "correct horse battery").await?))
    }

    /// A vault in the catalog; nothing is there.
    pub(crate) async fn vault(&self, id: Uuid, name: &str) -> Result<()> {
        let row = VaultRow {
            id: VaultId(id),
            name: name.to_owned(),
            location: format!("/vaults/{name}"),
            settings: serde_json::to_value(api::VaultSettings::default())?,
            created: self.control.now(),
            revision: 1,
        };
        Ok(self.control.catalog().add_vault(&row).await?)
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answered {
        let mut request = Request::builder().method(ask.method).uri(&ask.path);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(ask.body)).expect("a request");
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        // Events go on for ever.
        let body = match kind {
            Some("text/event-stream") => Vec::new(),
            _ => to_bytes(body, usize::MAX).await.expect("a body").to_vec(),
        };
        Answered { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

impl Ask {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: impl Into<String>, body: impl Into<Value>) -> Self {
        Self::new("POST", path).json(body)
    }

    pub(crate) fn json(self, body: impl Into<Value>) -> Self {
        self.header("content-type", "application/json").body(body.into().to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The code of the problem that it must be.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: api::Problem = serde_json::from_slice(&self.body).expect("a problem document");
        assert_eq!(problem.status, self.status, "{self:?}");
        assert!(problem.request_id.is_some() && self.header("x-request-id").is_some(), "{self:?}");
        serde_json::to_value(problem.code).expect("a word").as_str().expect("a word").to_owned()
    }
}
