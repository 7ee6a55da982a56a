//! A store in one SQLite file: a single connection, a write-ahead log, every wait bounded.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse_core::{RunId, Unused, WorkloadId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::schema::{self, Upgrade};
use crate::{Pin, Store, StoreError, UnixMillis};

/// How long another process may keep the file locked.
const BUSY_MAX: Duration = Duration::from_secs(2);
/// How long our own earlier calls may keep the one connection.
const QUEUE_MAX: Duration = Duration::from_secs(10);
/// SQLite's page cache, in KiB; the whole file is a few pages.
const CACHE_KIB: u32 = 256;
/// SQLite's primary result codes.
const SQLITE_BUSY: u32 = 5;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_NOTADB: u32 = 26;

/// Remembers in a file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, makes it (readable by its owner only) and its folder if they are missing, and
    /// brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be used. It is then left as it is.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        make_file(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_MAX)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .thread_name(|_| "dormouse-store".into());
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(QUEUE_MAX)
            .connect_with(options)
            .await;
        let pool = pool.map_err(|source| explain(&path, "open it", source))?;
        let store = Self { path, pool };
        match store.prepare().await {
            Ok(()) => Ok(store),
            Err(error) => {
                store.pool.close().await;
                Err(error)
            }
        }
    }

    /// Makes sure that the file is sound, and brings its tables up to date.
    async fn prepare(&self) -> Result<(), StoreError> {
        let connection = self.pool.acquire().await;
        let mut connection = connection.map_err(|source| self.explain("open it", source))?;
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&mut *connection)
            .await
            .map_err(|source| self.explain("check it", source))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt { path: self.path.clone(), detail: verdict });
        }
        let upgraded = schema::upgrade(&mut connection).await;
        match upgraded.map_err(|source| self.explain("bring it up to date", source))? {
            Upgrade::Done { from } => {
                tracing::debug!(path = %self.path.display(), from, "Opened the state file");
                Ok(())
            }
            Upgrade::Newer { found } => {
                Err(StoreError::Newer { path: self.path.clone(), found, known: schema::latest() })
            }
        }
    }

    async fn insert_pin(&self, workload: &WorkloadId, pin: &Pin) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO pin (workload, until_ms, reason, made_at_ms) VALUES (?, ?, ?, ?)
             ON CONFLICT (workload) DO UPDATE SET
                 until_ms = excluded.until_ms,
                 reason = excluded.reason,
                 made_at_ms = excluded.made_at_ms",
        )
        .bind(workload.as_str())
        .bind(pin.until.map(to_column))
        .bind(&pin.reason)
        .bind(to_column(pin.made_at))
        .execute(&self.pool)
        .await
        .map(drop)
    }

    async fn select_pins(&self) -> Result<BTreeMap<WorkloadId, Pin>, sqlx::Error> {
        let rows: Vec<(String, Option<i64>, String, i64)> =
            sqlx::query_as("SELECT workload, until_ms, reason, made_at_ms FROM pin")
                .fetch_all(&self.pool)
                .await?;
        let pins = rows.into_iter().filter_map(|(workload, until, reason, made_at)| {
            let made_at = from_column(made_at);
            let pin = Pin { until: until.map(from_column), reason, made_at };
            Some((WorkloadId::parse(&workload)?, pin))
        });
        Ok(pins.collect())
    }

    async fn replace_unused(
        &self,
        unused: &BTreeMap<WorkloadId, Unused>,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM unused").execute(&mut *transaction).await?;
        for (workload, Unused { run, period }) in unused {
            let unused_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
            sqlx::query("INSERT INTO unused (workload, run, unused_ms) VALUES (?, ?, ?)")
                .bind(workload.as_str())
                .bind(run.0.cast_signed())
                .bind(unused_ms)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }

    async fn delete_unused(&self) -> Result<BTreeMap<WorkloadId, Unused>, sqlx::Error> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("DELETE FROM unused RETURNING workload, run, unused_ms")
                .fetch_all(&self.pool)
                .await?;
        let unused = rows.into_iter().filter_map(|(workload, run, unused_ms)| {
            let period = Duration::from_millis(u64::try_from(unused_ms).ok()?);
            let run = RunId(run.cast_unsigned());
            Some((WorkloadId::parse(&workload)?, Unused { run, period }))
        });
        Ok(unused.collect())
    }

    async fn delete_pin(&self, workload: &WorkloadId) -> Result<(), sqlx::Error> {
        let delete = sqlx::query("DELETE FROM pin WHERE workload = ?").bind(workload.as_str());
        delete.execute(&self.pool).await.map(drop)
    }

    async fn delete_workload(&self, workload: &WorkloadId) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        for delete in
            ["DELETE FROM pin WHERE workload = ?", "DELETE FROM unused WHERE workload = ?"]
        {
            sqlx::query(delete).bind(workload.as_str()).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    fn explain(&self, verb: &'static str, source: sqlx::Error) -> StoreError {
        explain(&self.path, verb, source)
    }
}

impl Store for SqliteStore {
    fn save_pin<'a>(
        &'a self,
        workload: &'a WorkloadId,
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let saved = self.insert_pin(workload, pin);
        saved.map(|saved| saved.map_err(|source| self.explain("save a pin", source))).boxed()
    }

    fn remove_pin<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), StoreError>> {
        let removed = self.delete_pin(workload);
        removed
            .map(|removed| removed.map_err(|source| self.explain("remove a pin", source)))
            .boxed()
    }

    fn pins(&self) -> BoxFuture<'_, Result<BTreeMap<WorkloadId, Pin>, StoreError>> {
        let pins = self.select_pins();
        pins.map(|pins| pins.map_err(|source| self.explain("read the pins", source))).boxed()
    }

    fn remember_unused<'a>(
        &'a self,
        unused: &'a BTreeMap<WorkloadId, Unused>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            let replaced = self.replace_unused(unused).await;
            replaced.map_err(|source| self.explain("remember what goes unused", source))
        }
        .boxed()
    }

    fn take_unused(&self) -> BoxFuture<'_, Result<BTreeMap<WorkloadId, Unused>, StoreError>> {
        async {
            let taken = self.delete_unused().await;
            taken.map_err(|source| self.explain("read what went unused", source))
        }
        .boxed()
    }

    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), StoreError>> {
        let gone = self.delete_workload(workload);
        gone.map(|gone| gone.map_err(|source| self.explain("forget a workload", source))).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.pool.close().boxed()
    }
}

/// Makes the file before SQLite does, because SQLite would let everybody read it. The files beside it
/// (`-wal`, `-shm`) take its permissions over.
fn make_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// Names what went wrong by SQLite's primary result code, the low byte of the extended one.
fn explain(path: &Path, verb: &'static str, source: sqlx::Error) -> StoreError {
    let path = path.to_owned();
    let code = source.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    match code.map(|code| code & 0xff) {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => {
            StoreError::Corrupt { path, detail: source.to_string() }
        }
        Some(SQLITE_BUSY) => StoreError::Busy { path },
        Some(SQLITE_CANTOPEN) => StoreError::Open { path, source: io::Error::other(source) },
        Some(_) | None => StoreError::Database { path, verb, source },
    }
}

/// SQLite's integers are signed; the last moment that fits is far beyond any clock.
fn to_column(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn from_column(at: i64) -> UnixMillis {
    UnixMillis(u64::try_from(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn workload() -> WorkloadId {
        WorkloadId::parse("local/blog").unwrap()
    }

    fn pin() -> Pin {
        Pin { until: Some(UnixMillis(9)), reason: "demo".into(), made_at: UnixMillis(1) }
    }

    fn unused() -> Unused {
        Unused { run: RunId(u64::MAX), period: Duration::from_millis(7) }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn what_was_remembered_survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/dormouse.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.save_pin(&workload(), &pin()).await.unwrap();
        store.remember_unused(&[(workload(), unused())].into()).await.unwrap();
        store.close().await;
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.pins().await.unwrap(), [(workload(), pin())].into());
        assert_eq!(store.take_unused().await.unwrap(), [(workload(), unused())].into());
    }

    #[tokio::test]
    async fn what_was_remembered_survives_a_death_without_closing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.save_pin(&workload(), &pin()).await.unwrap();
        // A copy of the files as they lie there is what a killed process leaves.
        let copy = folder.path().join("copy.db");
        for end in ["", "-wal"] {
            let from = format!("{}{end}", path.display());
            std::fs::copy(from, format!("{}{end}", copy.display())).unwrap();
        }
        let heir = SqliteStore::open(&copy).await.unwrap();
        assert_eq!(heir.pins().await.unwrap(), [(workload(), pin())].into());
    }

    #[tokio::test]
    async fn only_the_owner_may_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/dormouse.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.save_pin(&workload(), &pin()).await.unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for end in ["", "-wal", "-shm"] {
            let file = PathBuf::from(format!("{}{end}", path.display()));
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.db");
        let content = "not a database, but long enough to look at. ".repeat(200);
        std::fs::write(&path, &content).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { path: named, .. } if *named == path));
        assert!(error.hint().starts_with("move the file away"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }

    #[tokio::test]
    async fn a_damaged_page_is_found_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let many = (0..2_000).map(|n| WorkloadId::parse(&format!("local/w{n}")).unwrap());
        let many = many.map(|workload| (workload, unused())).collect();
        store.remember_unused(&many).await.unwrap();
        store.close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 6_000].fill(0xA5);
        std::fs::write(&path, &bytes).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_file_of_a_later_version_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.save_pin(&workload(), &pin()).await.unwrap();
        let later = sqlx::query("UPDATE schema_version SET version = 99");
        later.execute(&store.pool).await.unwrap();
        store.close().await;
        let before = std::fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn a_file_of_no_version_yet_is_brought_up_to_date_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.db");
        for _ in 0..3 {
            let store = SqliteStore::open(&path).await.unwrap();
            let versions: Vec<i64> = sqlx::query_scalar("SELECT version FROM schema_version")
                .fetch_all(&store.pool)
                .await
                .unwrap();
            assert_eq!(versions, [schema::latest()]);
            store.close().await;
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = SqliteStore::open(&file.join("dormouse.db")).await.unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_file_that_somebody_keeps_locked_is_a_bounded_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.db");
        let first = SqliteStore::open(&path).await.unwrap();
        let second = SqliteStore::open(&path).await.unwrap();
        let mut connection = first.pool.acquire().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.unwrap();
        let began = std::time::Instant::now();
        let error = second.save_pin(&workload(), &pin()).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
        assert!(began.elapsed() >= BUSY_MAX / 2);
        sqlx::query("ROLLBACK").execute(&mut *connection).await.unwrap();
        second.save_pin(&workload(), &pin()).await.unwrap();
    }
}
