//! Opening the database, whichever it is.

use crate::migrations::migrator;
use crate::{Error, ErrorKind, Result};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{Any, AnyPool, Executor, Transaction};
use std::path::Path;
use std::time::Duration;

/// SQLite has one writer at a time; readers need few connections.
const SQLITE_CONNECTIONS: u32 = 4;
/// Of PostgreSQL's usual hundred, so that several servers and its other users find room.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Every statement here takes milliseconds: who waits longer waits for a database that is in trouble.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// For each new connection of SQLite: readers do not wait for the writer, a commit survives a power cut, references
/// are enforced, and a writer waits for another instead of failing.
const SQLITE_SETTINGS: &str = "\
pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma busy_timeout = 10000;";

/// The server's database.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) pool: AnyPool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Catalog {
    /// Opens the catalog in a file, which is made if it is not there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_file(path: &Path) -> Result<Self> {
        let Some(text) = path.to_str() else {
            let text = format!("open the catalog {}: its path is not UTF-8", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        // `%` would begin an escape and `?` the options.
        let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Self::open(&format!("sqlite://{escaped}?mode=rwc")).await
    }

    /// Opens the catalog at `sqlite://PATH` or `postgres://USER@HOST/DATABASE`, and brings its tables up to date.
    ///
    /// # Errors
    /// `Invalid` for another URL; `Unavailable` when nothing answers there; `Newer` when a newer version of the
    /// program has made its tables.
    pub async fn open(url: &str) -> Result<Self> {
        install_default_drivers();
        let kind = match url.split(':').next() {
            Some("sqlite") => Kind::Sqlite,
            Some("postgres" | "postgresql") => Kind::Postgres,
            _ => {
                let text = "open the catalog: its URL must begin with sqlite: or postgres:";
                return Err(Error::new(ErrorKind::Invalid, text));
            }
        };
        let pool = pool(kind).connect(url).await.map_err(|e| Error::sql("open the catalog", e))?;
        let catalog = Self { pool, kind };
        let made = migrator().run(&catalog.pool).await;
        made.map_err(|e| Error::sql("bring the catalog's tables up to date", e.into()))?;
        Ok(catalog)
    }

    /// Begins a transaction that will write. On SQLite it takes the writer's place at once: a reader that becomes a
    /// writer later could only fail.
    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, Any>> {
        let (pool, kind) = (self.pool.clone(), self.kind);
        // INVARIANT: a beginning is brought to its end even if whoever wanted it is gone, as a client that hangs up is.
        // sqlx ends a transaction that is dropped only once it has begun: one that was given up in between would go
        // back to the pool open, and swallow what others write there.
        let begun = tokio::spawn(async move {
            match kind {
                Kind::Sqlite => pool.begin_with("begin immediate").await,
                Kind::Postgres => pool.begin().await,
            }
        });
        begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Ends all connections. Dropping does so too, in its own time.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn pool(kind: Kind) -> AnyPoolOptions {
    let options = AnyPoolOptions::new().acquire_timeout(CONNECTION_WAIT);
    match kind {
        Kind::Postgres => options.max_connections(POSTGRES_CONNECTIONS),
        Kind::Sqlite => options.max_connections(SQLITE_CONNECTIONS).after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SQLITE_SETTINGS).await.map(drop) })
        }),
    }
}
